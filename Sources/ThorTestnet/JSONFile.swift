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

    /// Write what stands in the file until ``write(_:to:)`` replaces it, so that a place where no file can be is told before
    /// long work, and not after it. What is no file is left alone.
    ///
    /// - Throws: as ``write(_:to:)`` does.
    package static func begin(_ data: Data, at path: String) throws(OperatorError) {
        guard case .file = Self.place(of: path) else { return }
        try Self.write(data, to: path)
    }

    private enum Place {
        /// One to be replaced, or none yet.
        case file
        /// What is standard output or error already.
        case open(Int32)
        /// A pipe or a device.
        case stream
    }

    private static func place(of path: String) -> Place {
        var found = stat()
        guard stat(path, &found) == 0 else { return .file }
        for descriptor in [STDOUT_FILENO, STDERR_FILENO] {
            var own = stat()
            guard fstat(descriptor, &own) == 0, own.st_dev == found.st_dev, own.st_ino == found.st_ino else { continue }
            return .open(descriptor)
        }
        return [S_IFREG, S_IFDIR].contains(found.st_mode & S_IFMT) ? .file : .stream
    }

    /// What is at the path, if that is no file to be replaced.
    private static func stream(at path: String) throws -> FileHandle? {
        switch Self.place(of: path) {
        case .file: return nil
        case .open(let descriptor): return FileHandle(fileDescriptor: descriptor, closeOnDealloc: false)
        case .stream:
            // A pipe that nobody reads is an error, and nothing to wait for.
            let descriptor = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
            guard descriptor >= 0 else { throw AtomicFile.Failure.system(path: path, operation: "open", errno: errno) }
            return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        }
    }

    private static func reason(of error: any Error) -> String {
        if case .system(_, _, let code) = error as? AtomicFile.Failure { return String(cString: strerror(code)) }
        return error.localizedDescription
    }
}
