import Foundation
import Glibc
package import ThorDaemon

/// What `thor-testnet --json FILE` writes once the network is ready: where everything is, for scripts.
package struct NetworkDescription: Codable, Equatable, Sendable {
    package struct Directory: Codable, Equatable, Sendable {
        package var address: String
        package var pid: Int32
        package var publicKeyFile: String
    }
    package struct Router: Codable, Equatable, Sendable {
        package var nickname: String
        package var fingerprint: String
        package var address: String
        package var pid: Int32
        package var country: String
        /// The source address of its connections to loopback.
        package var exitSource: String
    }
    package struct Proxy: Codable, Equatable, Sendable {
        package var address: String
        package var pid: Int32
    }

    package var socks: String
    package var directory: Directory
    package var routers: [Router]
    package var proxy: Proxy
    package var stateDirectory: String

    /// Encode as JSON, keys in alphabetical order, with a line feed at the end.
    func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }

    /// Write the file whole or not at all: under another name first, then renamed, so that whoever waits for the file
    /// never reads half of it.
    package func write(to path: String) throws(OperatorError) {
        let temporary = "\(path).\(getpid()).tmp"
        do {
            try self.encoded().write(to: URL(fileURLWithPath: temporary))
            guard rename(temporary, path) == 0 else { throw SystemError(call: "rename", errno: errno) }
        } catch {
            unlink(temporary)
            throw OperatorError(
                "cannot write \(path): \(error)", advice: "Choose another place with --json FILE",
                status: .cannotCreate)
        }
    }
}
