internal import NIOCore

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Makes a Unix socket that only the user can connect to.
enum UserSocket {
    /// Make a socket with a file of mode 0600, in place of a dead one, on which nobody listens yet.
    ///
    /// The file has at first the mode that the umask leaves it; the umask is that of all threads, so it is left alone.
    /// But as long as nobody listens nobody can connect, whatever the mode.
    ///
    /// - Returns: its descriptor, which is the caller's to close, as the file is his to remove.
    /// - Throws: `IOError`; `SocketAddressError` for a path that is too long.
    static func make(at path: String) throws -> Int32 {
        let address = try SocketAddress(unixDomainSocketPath: path)
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK { unlink(path) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "socket") }
        guard address.withSockAddr({ bind(descriptor, $0, socklen_t($1)) }) == 0 else {
            let code = errno
            close(descriptor)
            throw IOError(errnoCode: code, reason: "bind")
        }
        guard chmod(path, 0o600) == 0 else {
            let code = errno
            close(descriptor)
            unlink(path)
            throw IOError(errnoCode: code, reason: "chmod")
        }
        return descriptor
    }
}
