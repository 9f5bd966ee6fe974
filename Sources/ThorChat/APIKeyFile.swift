import Foundation
import Glibc
package import ThorDaemon

/// A file that holds an API key on its one line. As a private key, it must be its owner's alone.
package enum APIKeyFile {
    static let maximumByteCount = 4096

    /// Read the key. No error repeats any of it.
    package static func read(_ path: String) throws(OperatorError) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            throw OperatorError(
                "cannot read the API key file \(path): \(String(cString: strerror(errno)))",
                advice: "Put the key in a file: (umask 077; cat > \(path)), paste it, Return, Ctrl-D", status: .noInput)
        }
        defer { close(file) }
        var information = stat()
        guard fstat(file, &information) == 0, information.st_mode & S_IFMT == S_IFREG else {
            throw OperatorError("\(path) is no file", advice: "Name the file with the API key", status: .noInput)
        }
        guard information.st_mode & 0o077 == 0 else {
            let mode = String(information.st_mode & 0o777, radix: 8)
            throw OperatorError(
                "others can read the API key file \(path) (mode \(mode))", advice: "Run: chmod 600 \(path)",
                status: .permission)
        }
        var bytes = [UInt8](repeating: 0, count: Self.maximumByteCount)
        let count = Glibc.read(file, &bytes, bytes.count)
        guard count >= 0 else {
            throw OperatorError(
                "cannot read the API key file \(path): \(String(cString: strerror(errno)))", advice: "Try again",
                status: .inputOutput)
        }
        let words = String(decoding: bytes[..<count], as: UTF8.self).split(whereSeparator: \.isWhitespace)
        guard let key = words.first, words.count == 1, key.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw OperatorError(
                "\(path) does not hold an API key: one line, one word, was expected",
                advice: "Put the key alone in it", status: .badData)
        }
        return String(key)
    }
}
