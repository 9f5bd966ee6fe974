import DirectoryClient
import DirectoryServer
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionRouter
import Testing

/// A directory and honest routers in this process, on loopback, and what an attacker knows of them.
final class AttackedNetwork: Sendable {
    let directory: Endpoint
    let directorySecret: Ed25519PrivateKey
    var directoryKey: Ed25519PublicKey { self.directorySecret.publicKey }
    let identities: [Ed25519PublicKey]
    private let services: [Task<Void, any Error>]
    private let group: MultiThreadedEventLoopGroup
    let state: String

    /// Start everything, run `body`, see that the network still serves an honest client, stop everything.
    static func run(
        parameters: NetworkParameters = .testNetwork, _ body: (AttackedNetwork) async throws -> Void
    ) async throws {
        let network = try await AttackedNetwork(parameters: parameters)
        let result: Result<Void, any Error>
        do {
            try await body(network)
            try await network.checkService()
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await network.stop()
        try result.get()
    }

    private init(parameters: NetworkParameters) async throws {
        let state = NSTemporaryDirectory() + "thor-attack-\(UUID().uuidString)"
        self.state = state
        func make(_ name: String) throws -> String {
            let path = "\(state)/\(name)"
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            return path
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        self.group = group
        var logger = Logger(label: "attacked")
        logger.logLevel = .critical

        let directoryKey = Ed25519PrivateKey()
        self.directorySecret = directoryKey
        let bound = NIOLockedValueBox<Endpoint?>(nil)
        let server = try DirectoryServer(
            configuration: .init(
                host: "127.0.0.1", port: 0, directoryKey: directoryKey, linkKey: Ed25519PrivateKey(), routers: .anyone,
                parameters: parameters, databasePath: "\(try make("ds"))/registry.sqlite"),
            group: group, logger: logger
        ) { address in bound.withLockedValue { $0 = Endpoint(address) } }
        var services = [Task { try await server.run() }]
        try await Wait.until("the directory listens") { bound.withLockedValue { $0 != nil } }
        let directory = try #require(bound.withLockedValue { $0 })
        self.directory = directory

        var identities: [Ed25519PublicKey] = []
        let readyCount = NIOLockedValueBox(0)
        for index in 0..<3 {
            let key = Ed25519PrivateKey()
            identities.append(key.publicKey)
            let router = OnionRouter(
                configuration: RouterConfiguration(
                    directoryHost: "127.0.0.1", directoryPort: directory.port, directoryKey: directoryKey.publicKey,
                    identityKey: key, listen: Endpoint(address: .v4(0x7f00_0001), port: 0),
                    nickname: "Honest\(index)", exitPolicy: try ExitPolicy(parsing: ["accept 127.0.0.0/8:*"]),
                    stateDirectory: try make("router\(index)")),
                logger: logger, onReady: { readyCount.withLockedValue { $0 += 1 } })
            services.append(Task { try await router.run() })
        }
        self.identities = identities
        self.services = services
        try await Wait.until("all routers are listed", seconds: 30) { readyCount.withLockedValue { $0 == 3 } }
        // And each knows the others.
        try await Wait.until("circuits can be built", seconds: 30) {
            guard let routers = try? await self.honest() else { return false }
            guard let circuit = try? await HostileCircuit.build(routers) else { return false }
            await circuit.link.close()
            guard let reverse = try? await HostileCircuit.build(routers.reversed()) else { return false }
            await reverse.link.close()
            return true
        }
    }

    /// The consensus as anybody gets it.
    func consensus() async throws -> Consensus {
        let connection = try await DirectoryDialler(directoryKey: self.directoryKey, credentials: nil)
            .connect(host: "127.0.0.1", port: self.directory.port, on: self.group.next())
        let consensus = try await connection.consensus(newerThan: 0)
        await connection.close()
        return try #require(consensus)
    }

    /// The honest routers, in the order of their start.
    func honest() async throws -> [ConsensusRouter] {
        let consensus = try await self.consensus()
        return try self.identities.map { try #require(consensus.router($0)) }
    }

    /// An honest client's request, through three hops in either direction of the list.
    func checkService(seconds: Double = 20) async throws {
        try await LoopbackServer.echoing { port in
            for path in [try await self.honest(), try await self.honest().reversed()] {
                let circuit = try await HostileCircuit.build(path)
                circuit.send([.begin(1, port: port), .init(.data, 1, Array("honest".utf8)), .init(.end, 1, [1])])
                var answer: [UInt8] = []
                while true {
                    guard case .message(2, let message) = await circuit.next(seconds: seconds) else {
                        Issue.record("no answer to an honest request")
                        break
                    }
                    if message.command == RelayCommand.data.rawValue { answer += message.data }
                    if message.command == RelayCommand.end.rawValue { break }
                }
                #expect(answer == Array("honest".utf8))
                await circuit.link.close()
            }
        }
    }

    private func stop() async {
        for service in self.services.reversed() {
            service.cancel()
            _ = await service.result
        }
        try? await self.group.shutdownGracefully()
        try? FileManager.default.removeItem(atPath: self.state)
    }
}
