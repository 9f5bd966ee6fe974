#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Small files that are there whole or not at all, whatever happens while they are written.
///
/// A new file is written under a temporary name beside the old one and synced; then it takes the name, in one step, and
/// the directory is synced. Where a file can have no second name, as on FAT, a crash in between may leave an empty one.
package enum AtomicFile {
    static let outOfMemory = ENOMEM

    package enum Failure: Error, Equatable, Sendable {
        case notFound(path: String)
        case exists(path: String)
        case notARegularFile(path: String)
        case tooLong(path: String, limit: Int)
        case readableByOthers(path: String, mode: UInt32)
        case system(path: String, operation: String, errno: Int32)

        var keyFileError: KeyFileError {
            switch self {
            case .notFound(let path): .fileNotFound(path: path)
            case .exists(let path): .exists(path: path)
            case .notARegularFile(let path): .malformed(path: path, what: "it is not a regular file")
            case .tooLong(let path, let limit):
                .malformed(path: path, what: "it is longer than the \(limit) bytes that are enough for it")
            case .readableByOthers(let path, let mode): .readableByOthers(path: path, mode: mode)
            case .system(let path, let operation, let errno): .io(path: path, operation: operation, errno: errno)
            }
        }
    }

    /// Write a whole file.
    ///
    /// - Parameter mode: its permission bits, whatever the umask; it never has more, not even for a moment. nil gives it
    ///   those of any new file: what the umask leaves of 0666. A file system that keeps no modes, such as FAT, gives it
    ///   its own, and says nothing.
    /// - Throws: `.exists` if there is something of that name and `overwrite` is false; `.system`.
    package static func write(
        _ bytes: [UInt8], to path: String, mode: UInt32?, overwrite: Bool
    ) throws(Failure) {
        try Self.write(bytes, to: path, mode: mode, overwrite: overwrite) { systemLink($0, $1) == 0 ? 0 : errno }
    }

    /// - Parameter link: gives a file a second name, and returns 0 or the system's code.
    static func write(
        _ bytes: [UInt8], to path: String, mode: UInt32?, overwrite: Bool,
        link: (_ temporary: String, _ path: String) -> Int32
    ) throws(Failure) {
        // For the system a zero byte would end the path.
        guard !path.utf8.contains(0) else {
            throw .system(path: path, operation: "create", errno: ENOENT)
        }
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { path[...$0] } ?? "./"
        let (temporary, file) = try Self.makeTemporary(in: directory, mode: mode, path: path)
        do throws(Failure) {
            try Self.fill(file, with: bytes, mode: mode, path: path)
            let code = overwrite ? Self.rename(temporary, path) : Self.takeFree(path, temporary, link)
            guard code == 0 else {
                throw code == EEXIST ? .exists(path: path) : .system(path: path, operation: "create", errno: code)
            }
        } catch {
            unlink(temporary)
            throw error
        }
        if !overwrite { unlink(temporary) }
        try Self.sync(directory: String(directory), path: path)
    }

    /// Make the file that is to become the new one: its owner's alone from the start, if a mode is asked for.
    static func makeTemporary(
        in directory: some StringProtocol, mode: UInt32?, path: String
    ) throws(Failure) -> (name: String, file: Int32) {
        let name = "\(directory).thor-\(Base64URL.encode(SecureRandom.bytes(12))).tmp"
        let file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(mode == nil ? 0o666 : 0o600))
        guard file >= 0 else { throw .system(path: path, operation: "create", errno: errno) }
        return (name, file)
    }

    /// Give a file a name that nothing has yet, and return 0 or the system's code.
    private static func takeFree(
        _ path: String, _ temporary: String, _ link: (_ temporary: String, _ path: String) -> Int32
    ) -> Int32 {
        // It refuses to take a name that is in use, which rename() cannot.
        let code = link(temporary, path)
        switch code {
        // There are no links, as on FAT: an empty file of ours holds the name until rename() replaces it.
        case EPERM, EOPNOTSUPP, ENOSYS:
            let holder = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard holder >= 0 else { return errno }
            close(holder)
            let code = Self.rename(temporary, path)
            if code != 0 { unlink(path) }
            return code
        default: return code
        }
    }

    private static func rename(_ old: String, _ new: String) -> Int32 { systemRename(old, new) == 0 ? 0 : errno }

    /// Write, sync and close; the file is closed whatever happens.
    static func fill(_ file: Int32, with bytes: [UInt8], mode: UInt32?, path: String) throws(Failure) {
        var result: Int32 = 0
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { systemWrite(file, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                result = errno
                break
            }
            written += count
        }
        let isModeSet = { mode.map { fchmod(file, mode_t($0)) == 0 } ?? true }
        if result == 0, !isModeSet() || fsync(file) != 0 { result = errno }
        if close(file) != 0, result == 0 { result = errno }
        guard result == 0 else { throw .system(path: path, operation: "write", errno: result) }
    }

    static func sync(directory: String, path: String) throws(Failure) {
        let file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw .system(path: path, operation: "sync the directory of", errno: errno) }
        defer { close(file) }
        // Some file systems cannot sync a directory, and say so by EINVAL; there is nothing better to do there.
        guard fsync(file) == 0 || errno == EINVAL else {
            throw .system(path: path, operation: "sync the directory of", errno: errno)
        }
    }

    /// Read a whole file.
    ///
    /// - Parameters:
    ///   - maximumByteCount: a longer file is refused.
    ///   - ownerOnly: refuse a file on which group or others have any permission.
    package static func read(
        _ path: String, maximumByteCount: Int, ownerOnly: Bool
    ) throws(Failure) -> [UInt8] {
        guard !path.utf8.contains(0) else { throw .notFound(path: path) }
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)  // Not blocking: it might be a FIFO.
        guard file >= 0 else {
            let code = errno
            throw code == ENOENT ? .notFound(path: path) : .system(path: path, operation: "open", errno: code)
        }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw .system(path: path, operation: "examine", errno: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .notARegularFile(path: path) }
        let mode = UInt32(status.st_mode) & 0o7777
        guard !ownerOnly || mode & 0o077 == 0 else { throw .readableByOthers(path: path, mode: mode) }
        return try Self.contents(of: file, path: path, maximumByteCount: maximumByteCount)
    }

    private static func contents(of file: Int32, path: String, maximumByteCount: Int) throws(Failure) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: maximumByteCount + 1)  // One more shows that a file is too long.
        defer { wipe(&buffer) }
        var total = 0
        while total < buffer.count {
            // Not through a slice, which would be a copy that nobody wipes.
            let count = buffer.withUnsafeMutableBytes { bytes in
                let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[total...])
                return systemRead(file, rest.baseAddress, rest.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .system(path: path, operation: "read", errno: errno) }
            if count == 0 { break }
            total += count
        }
        guard total <= maximumByteCount else { throw .tooLong(path: path, limit: maximumByteCount) }
        return Array(buffer[..<total])
    }
}

// Inside AtomicFile, these names are its own.
private func systemLink(_ old: String, _ new: String) -> Int32 { link(old, new) }
private func systemRename(_ old: String, _ new: String) -> Int32 { rename(old, new) }
private func systemWrite(_ file: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int { write(file, bytes, count) }
private func systemRead(_ file: Int32, _ bytes: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(file, bytes, count)
}
