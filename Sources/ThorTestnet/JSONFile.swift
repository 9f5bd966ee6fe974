package import Foundation
import Glibc
package import ThorDaemon

/// The file of `--json FILE`.
package enum JSONFile {
    /// Write the file whole or not at all: under another name first, then renamed, so that whoever waits for the file
    /// never reads half of it.
    ///
    /// - Throws: ``OperatorError`` with what the system said.
    package static func write(_ data: Data, to path: String) throws(OperatorError) {
        let temporary = "\(path).\(getpid()).tmp"
        guard Self.writeWhole(data, to: temporary), rename(temporary, path) == 0 else {
            let why = String(cString: strerror(errno))
            unlink(temporary)
            throw OperatorError(
                "cannot write \(path): \(why)", advice: "Choose another place with --json FILE", status: .cannotCreate)
        }
    }

    /// - Returns: false, with `errno`, for a failure.
    private static func writeWhole(_ data: Data, to path: String) -> Bool {
        guard let file = fopen(path, "we") else { return false }
        let isWritten = data.withUnsafeBytes { fwrite($0.baseAddress, 1, $0.count, file) } == data.count
        let code = errno
        // What is still in the buffer fails here.
        guard fclose(file) == 0 else { return false }
        errno = code
        return isWritten
    }
}
