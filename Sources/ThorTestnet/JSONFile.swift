package import Foundation
import Glibc
import OnionCrypto
package import ThorDaemon

/// The file of `--json FILE`.
package enum JSONFile {
    /// Write the file whole or not at all, so that whoever waits for it never reads half of it. Its mode is that of any new
    /// file. A pipe, a device, and what is standard output or error already (`/dev/stdout`) are written to and stay what
    /// they are.
    ///
    /// - Returns: whether there is a file of ours now, to be removed with what it describes.
    /// - Throws: ``OperatorError`` with what the system said.
    @discardableResult
    package static func write(_ data: Data, to path: String) throws(OperatorError) -> Bool {
        do {
            if let stream = try Self.stream(at: path) {
                try stream.write(contentsOf: data)
                return false
            }
            try AtomicFile.write(Array(data), to: path, mode: nil, overwrite: true)
            return true
        } catch {
            throw OperatorError(
                "cannot write \(path): \(Self.reason(of: error))", advice: "Choose another place with --json FILE",
                status: .cannotCreate)
        }
    }

    /// What is at the path, if that is no file to be replaced.
    private static func stream(at path: String) throws -> FileHandle? {
        var found = stat()
        guard stat(path, &found) == 0 else { return nil }
        for descriptor in [STDOUT_FILENO, STDERR_FILENO] {
            var own = stat()
            guard fstat(descriptor, &own) == 0, own.st_dev == found.st_dev, own.st_ino == found.st_ino else { continue }
            return FileHandle(fileDescriptor: descriptor, closeOnDealloc: false)
        }
        guard ![S_IFREG, S_IFDIR].contains(found.st_mode & S_IFMT) else { return nil }
        // A pipe that nobody reads is an error, and nothing to wait for.
        let descriptor = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw AtomicFile.Failure.system(path: path, operation: "open", errno: errno) }
        return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    private static func reason(of error: any Error) -> String {
        if case .system(_, _, let code) = error as? AtomicFile.Failure { return String(cString: strerror(code)) }
        return error.localizedDescription
    }
}
