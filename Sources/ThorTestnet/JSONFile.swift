package import Foundation
import Glibc
import OnionCrypto
package import ThorDaemon

/// The file of `--json FILE`.
package enum JSONFile {
    /// Write the file whole or not at all, so that whoever waits for it never reads half of it. Its mode is that of any new
    /// file. A pipe or a device, such as `/dev/stdout`, is written to and stays what it is.
    ///
    /// - Returns: whether there is a file of ours now, to be removed with what it describes.
    /// - Throws: ``OperatorError`` with what the system said.
    @discardableResult
    package static func write(_ data: Data, to path: String) throws(OperatorError) -> Bool {
        do {
            if Self.isPipeOrDevice(path) {
                try FileHandle(forWritingTo: URL(fileURLWithPath: path)).write(contentsOf: data)
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

    private static func isPipeOrDevice(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && ![S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT)
    }

    private static func reason(of error: any Error) -> String {
        if case .system(_, _, let code) = error as? AtomicFile.Failure { return String(cString: strerror(code)) }
        return error.localizedDescription
    }
}
