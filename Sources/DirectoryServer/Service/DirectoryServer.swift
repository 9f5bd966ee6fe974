package import Logging
package import NIOCore
import NIOPosix
import OnionAddress
package import OnionCrypto
package import OnionDirectory
package import OnionLink
import ServiceLifecycle

import func Foundation.strerror

/// The directory server: listens, registers routers, watches their heartbeats, and publishes the consensus.
///
/// - Source: DESIGN §9
package struct DirectoryServer: Service, CustomStringConvertible {
    /// Who may register.
    package enum RouterSource: Equatable, Sendable {
        case anyone
        /// The allow file at this path, read again when it changes.
        case file(String)
    }

    package struct Configuration: Sendable {
        /// The address to listen on; port 0 takes a free one.
        package var host: String
        package var port: UInt16
        package var directoryKey: Ed25519PrivateKey
        package var linkKey: Ed25519PrivateKey
        package var routers: RouterSource
        package var parameters: NetworkParameters
        package var databasePath: String
        package var connectionLimits: ConnectionLimits
        package var registryLimits: RegistryLimits

        package init(
            host: String, port: UInt16, directoryKey: Ed25519PrivateKey, linkKey: Ed25519PrivateKey,
            routers: RouterSource, parameters: NetworkParameters, databasePath: String
        ) {
            self.host = host
            self.port = port
            self.directoryKey = directoryKey
            self.linkKey = linkKey
            self.routers = routers
            self.parameters = parameters
            self.databasePath = databasePath
            self.connectionLimits = ConnectionLimits(parameters)
            self.registryLimits = RegistryLimits(parameters)
        }
    }

    typealias Connection = NIOAsyncChannel<DirectoryEvent, DirectoryMessage>

    private let configuration: Configuration
    private let probing: any RouterProbing
    private let group: any EventLoopGroup
    private let onTick: @Sendable () -> Void
    private let listening: @Sendable (SocketAddress) -> Void
    private let logger: Logger
    private let outside: TimeAndChance
    private let metrics = ServerMetrics()
    private let answers: AnswerBudget

    /// - Parameters:
    ///   - probing: nil for the real one, over a link.
    ///   - onTick: called each time the server has looked at its clock: ten times a second, as long as it lives.
    ///   - listening: called once, with the address really bound.
    package init(
        configuration: Configuration, probing: (any RouterProbing)? = nil, group: any EventLoopGroup,
        outside: TimeAndChance = .system, logger: Logger, onTick: @escaping @Sendable () -> Void = {},
        listening: @escaping @Sendable (SocketAddress) -> Void
    ) throws {
        self.configuration = configuration
        self.answers = AnswerBudget(
            limit: configuration.connectionLimits.queuedAnswerByteCount, metrics: self.metrics)
        self.probing = try probing ?? LinkProbe(group: group)
        self.group = group
        self.outside = outside
        self.logger = logger
        self.onTick = onTick
        self.listening = listening
    }

    package var description: String { "directory server" }

    /// Serve until cancelled or asked to shut down.
    ///
    /// - Throws: ``DirectoryServerError`` when it cannot start.
    package func run() async throws {
        try await cancelWhenGracefulShutdown { try await self.serve() }
    }

    private func serve() async throws {
        let watch = try AllowFileWatch(source: self.configuration.routers)
        let (core, probes) = try self.makeCore(admission: watch.admission, store: self.openStore())
        let listener = try await self.listen()
        if let address = listener.channel.localAddress { self.listening(address) }
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.accept(listener, core: core) }
                group.addTask { await self.work(core, probes) }
                group.addTask {
                    await watch.run(logger: self.logger, sleep: self.outside.sleep) {
                        await core.admissionChanged(to: $0)
                    }
                }
                // All run until cancelled, or until one fails.
                try await group.next()
                group.cancelAll()
            }
        } catch is CancellationError {}
    }

    private func openStore() throws(DirectoryServerError) -> RegistryStore {
        do {
            return try RegistryStore(path: self.configuration.databasePath)
        } catch {
            throw .cannotOpenDatabase(path: self.configuration.databasePath, why: "\(error)")
        }
    }

    /// Take up what the store has.
    ///
    /// - Returns: also what ``work(_:_:)`` has to probe.
    /// - Throws: ``DirectoryServerError/cannotOpenDatabase(path:why:)``.
    func makeCore(
        admission: Admission, store: RegistryStore
    ) throws(DirectoryServerError) -> (DirectoryCore, ProbeLanes) {
        let content: RegistryStore.Content
        do {
            content = try store.load()
        } catch {
            throw .cannotOpenDatabase(path: self.configuration.databasePath, why: "\(error)")
        }
        if content.damagedCount > 0 {
            self.logger.info(
                "stored routers left out: unreadable", metadata: ["registry.damaged": "\(content.damagedCount)"])
        }
        let registry = Registry(
            limits: self.configuration.registryLimits, admission: admission, stored: content.routers,
            lastRevision: content.lastRevision, now: self.outside.now())
        let (probes, probeRequests) = ProbeLanes.make()
        let core = DirectoryCore(
            configuration: self.configuration, registry: registry, store: store, probeRequests: probeRequests,
            answers: self.answers, metrics: self.metrics, outside: self.outside, logger: self.logger)
        return (core, probes)
    }

    /// Do what no connection asks for, until cancelled: probe routers, and watch the time.
    func work(_ core: DirectoryCore, _ probes: ProbeLanes) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.answer(probes.known, core: core) }
            group.addTask { await self.answer(probes.newcomers, core: core) }
            group.addTask { await self.keepTime(core: core) }
        }
    }

    // MARK: Tasks

    /// Listen for channels, each of which becomes a ``Connection`` only when somebody is there to serve it: one that is dropped,
    /// as when the server ends while it is accepted, would end the process. Until then nothing is read.
    private func listen() async throws -> NIOAsyncChannel<any Channel, Never> {
        let tls = try LinkTLS(
            credentials: try LinkCredentials(linkKey: self.configuration.linkKey), protocol: .directory)
        do {
            return try await ServerBootstrap(group: self.group)
                .pausingWhenAcceptFails()
                .serverChannelOption(.backlog, value: 256)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelOption(.autoRead, value: false)
                .bind(host: self.configuration.host, port: Int(self.configuration.port)) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        let peer = try tls.addServerHandlers(to: pipeline)
                        try pipeline.addHandler(DirectoryFrameHandler(peer: peer, answers: self.answers))
                        return channel
                    }
                }
        } catch {
            let code = (error as? IOError)?.errnoCode
            throw DirectoryServerError.cannotListen(
                host: self.configuration.host, port: self.configuration.port,
                why: code.map { String(cString: strerror($0)) } ?? "\(error)", errno: code)
        }
    }

    private func accept(_ listener: NIOAsyncChannel<any Channel, Never>, core: DirectoryCore) async throws {
        try await listener.executeThenClose { channels in
            try await withThrowingDiscardingTaskGroup { group in
                for try await channel in channels {
                    group.addTask {
                        guard let connection = try? await Self.begin(channel) else {
                            return channel.close(promise: nil)
                        }
                        await self.serve(connection, core: core)
                    }
                }
                group.cancelAll()
            }
        }
    }

    /// Make a connection of what was accepted and has not been read from yet.
    ///
    /// - Throws: `ChannelError` when it is gone.
    static func begin(_ channel: any Channel) async throws -> Connection {
        try await channel.eventLoop.submit {
            try channel.syncOptions?.setOption(.autoRead, value: true)
            // Nothing may fail from here on, and of a channel that is open nothing does.
            guard channel.isActive else { throw ChannelError.ioOnClosedChannel }
            return try Connection(wrappingChannelSynchronously: channel)
        }.get()
    }

    /// Serve one connection to its end.
    func serve(_ connection: Connection, core: DirectoryCore) async {
        let channel = connection.channel
        // One without an address is closed already.
        let address = channel.remoteAddress.flatMap(Endpoint.init)?.address
        let admitted: ConnectionID? =
            if let address { await core.admit(address) { Self.end(channel, saying: $0) } } else { nil }
        let (ending, ended) = AsyncStream.makeStream(of: Never.self)
        channel.closeFuture.whenComplete { _ in ended.finish() }
        await withDiscardingTaskGroup { group in
            // At once: the session may wait for a probe, and would find out only behind it.
            if let admitted {
                group.addTask {
                    for await _ in ending {}
                    await core.closed(admitted)
                }
            }
            // Whatever goes wrong on one connection ends that connection and nothing else.
            try? await connection.executeThenClose { inbound, outbound in
                guard let admitted else { return }
                let session = DirectorySession(
                    connection: admitted, core: core, limits: self.configuration.connectionLimits,
                    longPoll: .seconds(Int64(self.configuration.parameters[.consensusWait])), metrics: self.metrics,
                    outside: self.outside, logger: self.logger)
                try await session.run(inbound, outbound)
            }
        }
    }

    private static func end(_ channel: any Channel, saying last: DirectoryMessage?) {
        channel.eventLoop.execute {
            // No answer of the session's comes between the two.
            if let last { channel.writeAndFlush(last, promise: nil) }
            channel.close(promise: nil)
        }
    }

    private func answer(_ lane: AsyncStream<RouterProbe>, core: DirectoryCore) async {
        await ProbeLanes.answer(lane, atOnce: self.configuration.connectionLimits.probesAtOnce) { probe in
            guard await core.wants(probe) else { return }
            let outcome = await self.probing.probe(probe.descriptor.descriptor)
            await core.probeFinished(probe, outcome)
        }
    }

    private func keepTime(core: DirectoryCore) async {
        while !Task.isCancelled {
            await core.tick()
            self.onTick()
            try? await self.outside.sleep(.milliseconds(100))
        }
    }
}
