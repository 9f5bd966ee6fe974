package import Foundation
import Glibc
import OnionCrypto
package import ThorDaemon

/// The file of `--json FILE`.
package enum JSONFile {
    /// Write the file whole or not at all, so that whoever waits for it never reads half of it. Its mode is that of any new
    /// file.
    ///
    /// - Throws: ``OperatorError`` with what the system said.
    package static func write(_ data: Data, to path: String) throws(OperatorError) {
        do {
            try AtomicFile.write(Array(data), to: path, mode: nil, overwrite: true)
        } catch {
            let why = if case .system(_, _, let code) = error { String(cString: strerror(code)) } else { "\(error)" }
            throw OperatorError(
                "cannot write \(path): \(why)", advice: "Choose another place with --json FILE", status: .cannotCreate)
        }
    }
}
