internal import NIOCore

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A Unix socket that only the user can connect to, and its file.
struct UserSocket {
    /// The caller's to close.
    let descriptor: Int32
    private let path: String
    private let file: stat

    /// Make a socket with a file of mode 0600, in place of a dead one, on which nobody listens yet.
    ///
    /// The file has at first the mode that the umask leaves it; the umask is that of all threads, so it is left alone.
    /// But as long as nobody listens nobody can connect, whatever the mode.
    ///
    /// - Throws: `IOError`, with EADDRINUSE where somebody listens; `SocketAddressError` for a path that is too long.
    static func make(at path: String) throws -> UserSocket {
        let address = try SocketAddress(unixDomainSocketPath: path)
        try Self.removeDead(path, address)
        let descriptor = try Self.makeDescriptor()
        guard address.withSockAddr({ bind(descriptor, $0, socklen_t($1)) }) == 0 else {
            let code = errno
            close(descriptor)
            throw IOError(errnoCode: code, reason: "bind")
        }
        var file = stat()
        guard lstat(path, &file) == 0, chmod(path, 0o600) == 0 else {
            let code = errno
            close(descriptor)
            unlink(path)
            throw IOError(errnoCode: code, reason: "chmod")
        }
        return UserSocket(descriptor: descriptor, path: path, file: file)
    }

    /// Whether whoever connects to the path reaches this socket: another program that found nobody listening yet may
    /// have taken its place.
    var isInPlace: Bool {
        var status = stat()
        return lstat(self.path, &status) == 0 && status.st_dev == self.file.st_dev
            && status.st_ino == self.file.st_ino
    }

    /// Remove the file, before the socket is closed, unless the path has become somebody else's.
    func removeFile() { if self.isInPlace { unlink(self.path) } }

    /// Remove a socket's file that the kernel says nobody listens on. Of other files it says the same.
    private static func removeDead(_ path: String, _ address: SocketAddress) throws {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return }
        let probe = try Self.makeDescriptor()
        defer { close(probe) }
        let isAccepted = address.withSockAddr { connect(probe, $0, socklen_t($1)) } == 0
        switch isAccepted ? EADDRINUSE : errno {
        case ECONNREFUSED: unlink(path)
        // It has gone meanwhile.
        case ENOENT: break
        // Somebody listens, and has no room for one more now.
        case EADDRINUSE, EAGAIN: throw IOError(errnoCode: EADDRINUSE, reason: "bind")
        case let code: throw IOError(errnoCode: code, reason: "connect")
        }
    }

    private static func makeDescriptor() throws -> Int32 {
        let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        let descriptor = socket(AF_UNIX, Int32(type), 0)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "socket") }
        return descriptor
    }
}
