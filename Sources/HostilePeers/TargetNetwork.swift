import DirectoryClient
import NIOCore
import NIOPosix
package import OnionAddress
import OnionCells
package import OnionCrypto
package import OnionDirectory

/// A network as an attacker sees it: what anybody knows who can use it.
package struct TargetNetwork: Sendable {
    package let directory: Endpoint
    package let directoryKey: Ed25519PublicKey
    /// The routers that are honest, at least three, in the order of their start.
    package let identities: [Ed25519PublicKey]

    package init(directory: Endpoint, directoryKey: Ed25519PublicKey, identities: [Ed25519PublicKey]) {
        self.directory = directory
        self.directoryKey = directoryKey
        self.identities = identities
    }

    /// The consensus as anybody gets it, who has not been here before.
    package func consensus() async throws -> Consensus {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(to: SocketAddress(Endpoint(address: Stranger.anybody(), port: 0)))
            .connect(to: SocketAddress(self.directory)).get()
        let connection = try await DirectoryDialler(directoryKey: self.directoryKey, credentials: nil).open(
            over: channel)
        do {
            let consensus = try await connection.consensus(newerThan: 0)
            await connection.close()
            guard let consensus else { throw PeerError.notListed }
            return consensus
        } catch {
            await connection.close()
            throw error
        }
    }

    /// The honest routers, in the order of their start.
    package func honest() async throws -> [ConsensusRouter] {
        let consensus = try await self.consensus()
        return try self.identities.map { identity in
            guard let router = consensus.router(identity) else { throw PeerError.notListed }
            return router
        }
    }

    /// Send an honest client's request through three hops, in either direction of the list.
    ///
    /// - Throws: ``PeerError/noService(_:)``, or what building a circuit throws.
    package func checkService(seconds: Double = 20) async throws {
        let routers = try await self.honest()
        try await LoopbackServer.echoing { port in
            for path in [Array(routers.prefix(3)), routers.prefix(3).reversed()] {
                let circuit = try await HostileCircuit.build(path)
                circuit.send([.begin(1, port: port), .init(.data, 1, Array("honest".utf8)), .init(.end, 1, [1])])
                var answer: [UInt8] = []
                while true {
                    let event = await circuit.next(seconds: seconds)
                    guard case .message(2, let message) = event else { throw PeerError.noService("\(event)") }
                    if message.command == RelayCommand.data.rawValue { answer += message.data }
                    if message.command == RelayCommand.end.rawValue { break }
                }
                guard answer == Array("honest".utf8) else { throw PeerError.noService("another answer came") }
                await circuit.link.close()
            }
        }
    }
}
