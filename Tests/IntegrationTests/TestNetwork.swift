import DirectoryServer
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionClient
import OnionCrypto
import OnionDirectory
import OnionRouter
import ProxyFrontend

/// A whole network in this process, on loopback: directory, routers, client and proxy port.
final class TestNetwork: Sendable {
    let socks: Endpoint
    let client: OnionClient
    let routers: [Ed25519PublicKey]
    /// In front of each router, if that was asked for.
    let relays: [CuttableRelay]
    private let services: [Task<Void, any Error>]
    private let groups: [MultiThreadedEventLoopGroup]
    private let directory: String

    /// Start everything, wait until the proxy has a circuit, run `body`, stop everything.
    static func run(
        routers count: Int = 3, eventLoops: Int? = nil, isRelayed: Bool = false,
        parameters: NetworkParameters = .testNetwork, resolvers: [Endpoint] = [],
        _ body: (TestNetwork) async throws -> Void
    ) async throws {
        let network = try await TestNetwork(
            routers: count, eventLoops: eventLoops, isRelayed: isRelayed, parameters: parameters,
            resolvers: resolvers)
        let result: Result<Void, any Error>
        do {
            try await body(network)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await network.stop()
        try result.get()
    }

    private init(
        routers count: Int, eventLoops: Int?, isRelayed: Bool, parameters: NetworkParameters,
        resolvers: [Endpoint]
    ) async throws {
        let directory = NSTemporaryDirectory() + "thor-test-\(UUID().uuidString)"
        func make(_ name: String) throws -> String {
            let path = "\(directory)/\(name)"
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            return path
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        var services: [Task<Void, any Error>] = []

        let directoryKey = Ed25519PrivateKey()
        let bound = Fact<Endpoint>()
        let server = try DirectoryServer(
            configuration: .init(
                host: "127.0.0.1", port: 0, directoryKey: directoryKey, linkKey: Ed25519PrivateKey(), routers: .anyone,
                parameters: parameters, databasePath: "\(try make("ds"))/registry.sqlite"),
            group: group, logger: logger
        ) { address in bound.set(Endpoint(address)) }
        services.append(Task { try await server.run() })
        let directoryEndpoint = try await bound.value(or: services[0])

        var identities: [Ed25519PublicKey] = []
        var relays: [CuttableRelay] = []
        for index in 0..<count {
            let key = Ed25519PrivateKey()
            identities.append(key.publicKey)
            let ready = Fact<Bool>()
            var configuration = RouterConfiguration(
                directoryHost: "127.0.0.1", directoryPort: directoryEndpoint.port,
                directoryKey: directoryKey.publicKey, identityKey: key,
                listen: Endpoint(address: .v4(0x7f00_0001), port: 0), nickname: "Router\(index)",
                exitPolicy: try ExitPolicy(parsing: ["accept 127.0.0.0/8:*"]), resolvers: resolvers,
                stateDirectory: try make("router\(index)"))
            configuration.eventLoopCount = eventLoops
            let relay = isRelayed ? try await CuttableRelay(group: group) : nil
            if let relay {
                configuration.advertise = .init(address: .v4(0x7f00_0001), port: relay.port)
                relays.append(relay)
            }
            let router = OnionRouter(
                configuration: configuration, logger: logger, onListening: { relay?.pass(to: $0.port) },
                onReady: { ready.set(true) })
            let task = Task { try await router.run() }
            services.append(task)
            _ = try await ready.value(or: task)
        }

        let clientGroup = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let client = try OnionClient(
            configuration: .init(
                directoryHost: "127.0.0.1", directoryPort: directoryEndpoint.port, directoryKey: directoryKey.publicKey,
                stateDirectory: try make("proxy")),
            group: clientGroup, logger: logger)
        let clientTask = Task { try await client.run() }
        services.append(clientTask)
        let listening = Fact<Endpoint>()
        let proxy = ProxyServer(
            configuration: .init(
                listenAddresses: [
                    try ProxyListenAddress(host: "127.0.0.1", port: 0, allowsNonLoopback: false, access: .open)
                ], access: .open),
            client: client, logger: logger,
            onListening: { if case .ip(let endpoint) = $0.place { listening.set(endpoint) } })
        let proxyTask = Task { try await proxy.run() }
        services.append(proxyTask)
        self.socks = try await listening.value(or: proxyTask)
        self.client = client
        self.routers = identities
        self.relays = relays
        self.services = services
        self.groups = [group, clientGroup]
        self.directory = directory
        let ready = Fact<Bool>()
        let progress = client.progress
        Task {
            for await step in progress where step.percent == 100 { ready.set(true) }
        }
        _ = try await ready.value(or: clientTask)
    }

    private func stop() async {
        for relay in self.relays { await relay.stop() }
        for service in self.services.reversed() {
            service.cancel()
            _ = await service.result
        }
        for group in self.groups { try? await group.shutdownGracefully() }
        try? FileManager.default.removeItem(atPath: self.directory)
    }
}

/// Something that becomes known once.
final class Fact<Value: Sendable>: Sendable {
    private let promise: EventLoopPromise<Value>
    private let isSet = NIOLockedValueBox(false)

    init() { self.promise = MultiThreadedEventLoopGroup.singleton.next().makePromise() }

    func set(_ value: Value?) {
        let isFirst = self.isSet.withLockedValue { isSet in
            defer { isSet = true }
            return !isSet
        }
        guard isFirst else { return }
        if let value { self.promise.succeed(value) } else { self.promise.fail(NeverKnown()) }
    }

    /// Wait for the value, for as long as `service` runs and no longer than two minutes.
    func value(or service: Task<Void, any Error>) async throws -> Value {
        let watch = Task {
            _ = await service.result
            self.set(nil)
        }
        let timer = MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .seconds(120)) { self.set(nil) }
        defer {
            watch.cancel()
            timer.cancel()
        }
        return try await self.promise.futureResult.get()
    }

    struct NeverKnown: Error {}
}
