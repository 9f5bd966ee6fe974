import Foundation

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
}
