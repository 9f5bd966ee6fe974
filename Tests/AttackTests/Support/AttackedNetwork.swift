import AttackSuite
import DirectoryServer
import Foundation
import HostilePeers
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionRouter
import Testing

/// A directory and honest routers in this process, on loopback.
final class AttackedNetwork: Sendable {
    let target: TargetNetwork
    let directorySecret: Ed25519PrivateKey
    private let services: [Task<Void, any Error>]
    private let group: MultiThreadedEventLoopGroup
    let state: String

    /// Start everything, run `body`, see that the network still serves an honest client, stop everything.
    static func run(
        parameters: NetworkParameters = .testNetwork, resolvers: [Endpoint] = [],
        _ body: (AttackedNetwork) async throws -> Void
    ) async throws {
        let network = try await AttackedNetwork(parameters: parameters, resolvers: resolvers)
        let result: Result<Void, any Error>
        do {
            try await body(network)
            try await network.target.checkService()
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await network.stop()
        try result.get()
    }

    private init(parameters: NetworkParameters, resolvers: [Endpoint]) async throws {
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
                    resolvers: resolvers, stateDirectory: try make("router\(index)")),
                logger: logger, onReady: { readyCount.withLockedValue { $0 += 1 } })
            services.append(Task { try await router.run() })
        }
        let target = TargetNetwork(
            directory: directory, directoryKey: directoryKey.publicKey, identities: identities)
        self.target = target
        self.services = services
        try await Wait.until("all routers are listed", seconds: 30) { readyCount.withLockedValue { $0 == 3 } }
        // And each knows the others.
        try await Wait.until("circuits can be built", seconds: 30) {
            guard let routers = try? await target.honest() else { return false }
            guard let circuit = try? await HostileCircuit.build(routers) else { return false }
            await circuit.link.close()
            guard let reverse = try? await HostileCircuit.build(routers.reversed()) else { return false }
            await reverse.link.close()
            return true
        }
    }

    /// Play attacks that need no daemons of their own; each must hold, and leave the service as it was.
    func play(_ attacks: [Attack]) async throws {
        let arena = try await Arena(network: self.target, directorySecret: self.directorySecret, payloadStride: 1021)
        for attack in attacks where !attack.needsDaemons {
            do {
                let outcome = try await attack.play(arena)
                #expect(outcome.verdict == .held, "\(attack.name): \(outcome.observed)")
                try await self.target.checkService()
            } catch {
                Issue.record(error, "\(attack.name)")
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
