import DirectoryClient
package import Logging
import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix
package import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink
import ServiceLifecycle

/// An onion router: listens for links, relays cells, opens exit streams, and keeps its place in the consensus.
package final class OnionRouter: Service, Sendable {
    private let configuration: RouterConfiguration
    private let logger: Logger
    private let onStart: @Sendable ([any EventLoop]) -> Void
    private let onListening: @Sendable (Endpoint) -> Void
    private let onReady: @Sendable () -> Void
    private let onStanding: @Sendable (RouterStanding) -> Void

    /// - Parameters:
    ///   - onStart: called once, with the event loops that share the OR's work.
    ///   - onListening: called once links are accepted.
    ///   - onReady: called once the OR is in the consensus.
    ///   - onStanding: called with each change of the OR's place in the network, from its first registration on.
    package init(
        configuration: RouterConfiguration, logger: Logger,
        onStart: @escaping @Sendable ([any EventLoop]) -> Void = { _ in },
        onListening: @escaping @Sendable (Endpoint) -> Void = { _ in },
        onReady: @escaping @Sendable () -> Void = {},
        onStanding: @escaping @Sendable (RouterStanding) -> Void = { _ in }
    ) {
        self.configuration = configuration
        self.logger = logger
        self.onStart = onStart
        self.onListening = onListening
        self.onReady = onReady
        self.onStanding = onStanding
    }

    /// Run until graceful shutdown or cancellation.
    ///
    /// - Throws: ``RouterError`` or `DirectoryConnectionError` for what keeps the OR from starting.
    package func run() async throws {
        let group = MultiThreadedEventLoopGroup(
            numberOfThreads: self.configuration.eventLoopCount ?? System.coreCount)
        let result: Result<Void, any Error>
        do {
            try await self.run(on: group)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try? await group.shutdownGracefully()
        try result.get()
    }

    private func run(on group: MultiThreadedEventLoopGroup) async throws {
        let configuration = self.configuration
        let identity = configuration.identityKey.publicKey
        let keys = RouterKeyStore(directory: configuration.stateDirectory)
        let credentials = try LinkCredentials(linkKey: try keys.linkKey())
        let ring = try keys.onionKeys(now: TimeAndChance.system.unixSeconds)

        let resolver = try Resolver(servers: configuration.resolvers)
        defer { resolver.stop() }
        let view = NetworkView(consensus: nil)
        let metrics = RouterMetrics()
        let threads = NIOThreadPool(numberOfThreads: RouterConfiguration.handshakeThreadCount)
        threads.start()
        let handshakes = HandshakeService(
            identity: identity, onionKeys: ring.accepted, limits: view.handshakeLimits, metrics: metrics,
            executor: { work in threads.submit { _ in work() } })
        let transport = try LinkTransport(credentials: credentials, limits: view.linkLimits) { observed in
            NetInfo(unixTime: TimeAndChance.system.unixSeconds, observedAddress: observed)
        }
        let ownAddresses = try OwnAddresses(read: OwnAddresses.ofSystem)
        let shared = RouterShared(
            identity: identity, group: group, handshakes: handshakes,
            connector: ExitConnector(
                resolver: resolver,
                gate: ExitGate(configuration, ownAddresses: ownAddresses),
                directory: configuration.directoryHost, directoryPort: configuration.directoryPort,
                source: configuration.exitSource.map { ExitSource(address: $0) }),
            dial: { transport.dial($0, linkKey: $1, on: $2, owner: $3) },
            admission: RouterAdmission(
                view: view, directory: IPAddress(configuration.directoryHost),
                descriptorCount: configuration.descriptorCount, metrics: metrics),
            metrics: metrics, view: view)
        try await shared.start()
        self.onStart(Array(group.makeIterator()))
        let listener = try await self.listen(transport, shared, on: group)
        guard let bound = listener.localAddress.flatMap(Endpoint.init) else { throw RouterError.noListeningAddress }
        // Before anybody hears that it listens: without an address to tell, it cannot start.
        _ = try self.advertised(bound, registered: nil)
        self.onListening(bound)

        let dialler = try DirectoryDialler(directoryKey: configuration.directoryKey, credentials: credentials)
        let directoryLoop = group.next()
        let directory = RouterDirectory(
            configuration: configuration, linkKey: credentials.publicKey, shared: shared,
            keys: KeptOnionKeys(ring, store: keys), addresses: { [try self.advertised(bound, registered: $0.first)] },
            logger: self.logger,
            connect: {
                try await dialler.connect(
                    host: configuration.directoryHost, port: configuration.directoryPort, on: directoryLoop)
            },
            onReady: self.onReady, onStanding: self.onStanding)
        let result: Result<Void, any Error>
        do {
            try await cancelWhenGracefulShutdown { try await directory.run() }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        shared.stopAccepting()
        try? await listener.close()
        for loop in shared.loops { loop.run { $0.stop() } }
        await resolver.end()
        try await threads.shutdownGracefully()
        if case .failure(let error) = result, !(error is CancellationError) { throw error }
    }

    private func listen(
        _ transport: LinkTransport, _ shared: RouterShared, on group: MultiThreadedEventLoopGroup
    ) async throws -> any Channel {
        do {
            return try await transport.listen(
                on: SocketAddress(self.configuration.listen), group: group,
                admit: { channel in
                    // One without an address is closed already.
                    guard let address = channel.remoteAddress.flatMap(Endpoint.init)?.address,
                        shared.admission.admits(address)
                    else { return false }
                    channel.closeFuture.whenComplete { _ in shared.admission.connectionClosed(address) }
                    return true
                },
                owner: { eventLoop in
                    // Every loop of the group has its part before anything listens.
                    shared.loop(eventLoop)?.local
                }
            ).get()
        } catch let error as IOError {
            throw RouterError.cannotListen(self.configuration.listen, errno: error.errnoCode)
        }
    }

    /// Where others are told to connect.
    ///
    /// - Parameter registered: where they were told to before.
    private func advertised(_ bound: Endpoint, registered: Endpoint?) throws -> Endpoint {
        if let advertised = self.configuration.advertise {
            return Endpoint(address: advertised.address, port: advertised.port ?? bound.port)
        }
        if !bound.address.isUnspecified { return bound }
        let own = try OwnAddresses.ofSystem()
        let address = Self.publicAddress(among: own, isIPv4: bound.address.isIPv4, registered: registered?.address)
        guard let address else { throw RouterError.noPublicAddress }
        return Endpoint(address: address, port: bound.port)
    }

    /// The lowest public address of that family, so that it is the same at each start. But the one that was registered
    /// stays as long as it is there: IPv6 makes others beside it every day (RFC 8981).
    static func publicAddress(among addresses: Set<IPAddress>, isIPv4: Bool, registered: IPAddress?) -> IPAddress? {
        let usable = addresses.filter { $0.isIPv4 == isIPv4 && SpecialPurpose.isPublicInternet($0) }
        if let registered, usable.contains(registered) { return registered }
        return usable.min()
    }
}

extension IPAddress {
    /// 0.0.0.0 or ::.
    var isUnspecified: Bool { self.bytes.allSatisfy { $0 == 0 } }
}

/// What keeps an OR from starting, beside the directory.
package enum RouterError: Error, Equatable, Sendable {
    case cannotListen(Endpoint, errno: CInt)
    case noListeningAddress
    /// Listening everywhere, no interface has a public address, and none was given.
    case noPublicAddress
}

extension RouterError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .cannotListen(let endpoint, let errno): "cannot listen on \(endpoint): error \(errno)"
        case .noListeningAddress: "the system does not say where the router listens"
        case .noPublicAddress:
            "this machine has no public address of its own, so others cannot be told where the router is"
        }
    }
}
