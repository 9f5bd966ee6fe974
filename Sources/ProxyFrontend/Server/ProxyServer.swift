internal import CoreMetrics
package import Logging
internal import NIOConcurrencyHelpers
package import NIOCore
internal import NIOPosix
internal import OnionAddress
package import OnionClient
internal import OnionLink
internal import OnionStreams
internal import ServiceLifecycle

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// The proxy's listening ports. Every listener and every accepted connection is on the client's event loop.
package final class ProxyServer: Service, CustomStringConvertible {
    /// What a proxy is told at its start; pure data.
    package struct Configuration: Sendable {
        package var listenAddresses: [ProxyListenAddress]
        package var access: ProxyAccess
        package var limits: ProxyLimits
        package var policy: ProxyPolicy

        package init(
            listenAddresses: [ProxyListenAddress], access: ProxyAccess, limits: ProxyLimits = ProxyLimits(),
            policy: ProxyPolicy = ProxyPolicy()
        ) {
            self.listenAddresses = listenAddresses
            self.access = access
            self.limits = limits
            self.policy = policy
        }
    }

    private static let backlog: Int32 = 1024

    private let configuration: Configuration
    private let client: any StreamOpening
    private let logger: Logger
    private let advice: AdviceLog
    private let metrics = ProxyMetrics()
    private let onListening: @Sendable (ProxyListenAddress) -> Void
    private let meter: NIOLoopBoundBox<TrafficMeter>
    private let listening = NIOLockedValueBox<[ProxyListenAddress]>([])

    /// - Parameters:
    ///   - configuration: where to listen, and for whom.
    ///   - client: opens the streams.
    ///   - logger: gets no client address and no destination.
    ///   - onListening: called once per listener, in their order, with the port really bound.
    package init(
        configuration: Configuration, client: any StreamOpening, logger: Logger,
        onListening: @escaping @Sendable (ProxyListenAddress) -> Void
    ) {
        self.configuration = configuration
        self.client = client
        self.logger = logger
        self.advice = AdviceLog(logger: logger)
        self.onListening = onListening
        self.meter = NIOLoopBoundBox.makeBoxSendingValue(TrafficMeter(now: .now()), eventLoop: client.eventLoop)
    }

    package var description: String { "proxy listeners" }

    /// Add to a client's status what the proxy knows.
    package func status(_ client: EventLoopFuture<ClientStatus>) -> EventLoopFuture<ProxyStatus> {
        let (meter, listening) = (self.meter, self.listening)
        let wantsPassword = self.configuration.access.wantsPassword
        return client.hop(to: meter.eventLoop).map { client in
            ProxyStatus(
                client: client, listeners: listening.withLockedValue { $0.map { "\($0)" } },
                wantsPassword: wantsPassword, traffic: meter.value.reading(now: .now()))
        }
    }

    /// Listen until a graceful shutdown, then close the listeners and all connections.
    ///
    /// - Throws: ``ProxyError/cannotListen(address:reason:errno:)``.
    package func run() async throws {
        let loop = self.client.eventLoop
        let connections = NIOLoopBoundBox.makeBoxSendingValue(ConnectionRegistry(), eventLoop: loop)
        var listeners: [(channel: any Channel, socket: UserSocket?)] = []
        do {
            for address in self.configuration.listenAddresses {
                let listener = try await self.bind(address, connections)
                listeners.append(listener)
                let bound = Self.bound(address, listener.channel)
                self.logger.info("proxy listening", metadata: ["proxy.address": "\(bound)"])
                self.listening.withLockedValue { $0.append(bound) }
                self.onListening(bound)
            }
            await Self.untilShutdown()
        } catch {
            await Self.close(listeners)
            throw error
        }
        await Self.close(listeners)
        try? await loop.submit { connections.value.closeAll() }.get()
    }

    func bind(
        _ address: ProxyListenAddress, _ connections: NIOLoopBoundBox<ConnectionRegistry>
    ) async throws -> (channel: any Channel, socket: UserSocket?) {
        let (client, access, limits, policy) = (
            self.client, self.configuration.access, self.configuration.limits, self.configuration.policy
        )
        let (logger, advice, meter, metrics) = (self.logger, self.advice, self.meter, self.metrics)
        let listener = "\(address)"
        let bound = NIOLoopBoundBox.makeBoxSendingValue(String?.none, eventLoop: client.eventLoop)
        let bootstrap = ServerBootstrap(group: client.eventLoop)
            .pausingWhenAcceptFails()
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            // What is accepted inherits this, and TCP_NODELAY, which NIO gives every listener.
            .serverChannelOption(.socketOption(.so_rcvbuf), value: SocketOptionValue(limits.receiveBufferByteCount))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try StreamEdge.configure(channel)
                    guard connections.value.add(channel, limit: limits.connectionCount) else {
                        metrics.connections.increment()
                        throw ChannelError.operationUnsupported
                    }
                    channel.closeFuture.assumeIsolated().whenComplete { _ in connections.value.remove(channel) }
                    try channel.pipeline.syncOperations.addHandler(TrafficHandler(meter: meter))
                    // Where it really listens: listeners that were asked for with port 0 differ by it alone.
                    let place = bound.value ?? channel.parent?.localAddress.map { "\($0)" } ?? listener
                    bound.value = place
                    try channel.pipeline.syncOperations.addHandler(
                        ProxyConnectionHandler(
                            client: client, access: access, limits: limits, policy: policy, listener: place,
                            logger: logger, advice: advice))
                }
            }
        do {
            switch address.place {
            case .ip(let endpoint):
                // Inherited, too: a program that does not read is soon noticed, and its downloads wait where they come from.
                let listener =
                    try await bootstrap
                    .serverChannelOption(LinkSockets.unsentLowWaterOption, value: LinkSockets.unsentLowWaterByteCount)
                    .bind(host: "\(endpoint.address)", port: Int(endpoint.port)).get()
                listener.eventLoop.execute { LinkSockets.unpaceLoopback(listener, with: endpoint.address) }
                return (listener, nil)
            case .unix(let path): return try await Self.listen(bootstrap, on: UserSocket.make(at: path))
            }
        } catch let error as IOError {
            throw ProxyError.cannotListen(
                address: listener, reason: String(cString: strerror(error.errnoCode)), errno: error.errnoCode)
        } catch {
            throw ProxyError.cannotListen(address: listener, reason: "\(error)", errno: nil)
        }
    }

    /// Listen on a Unix socket that nobody listens on, for the user alone; he may change its mode afterwards.
    ///
    /// - Throws: `IOError`, with EADDRINUSE where somebody else has taken the path meanwhile.
    static func listen(
        _ bootstrap: ServerBootstrap, on socket: UserSocket
    ) async throws -> (channel: any Channel, socket: UserSocket?) {
        do {
            let channel = try await bootstrap.withBoundSocket(socket.descriptor).get()
            // Once more: for a socket that it has not bound itself, NIO minds no backlog.
            systemListen(socket.descriptor, Self.backlog)
            guard socket.isInPlace else {
                try? await channel.close().get()
                throw IOError(errnoCode: EADDRINUSE, reason: "listen")
            }
            return (channel, socket)
        } catch {
            socket.removeFile()
            throw error
        }
    }

    private static func bound(_ address: ProxyListenAddress, _ channel: any Channel) -> ProxyListenAddress {
        switch address.place {
        case .ip(let endpoint):
            ProxyListenAddress(
                .ip(Endpoint(address: endpoint.address, port: UInt16(clamping: channel.localAddress?.port ?? 0))))
        case .unix: address
        }
    }

    private static func untilShutdown() async {
        // Ends early only when the task is cancelled, which means the same here.
        try? await gracefulShutdown()
    }

    private static func close(_ listeners: [(channel: any Channel, socket: UserSocket?)]) async {
        for listener in listeners {
            listener.socket?.removeFile()
            try? await listener.channel.close().get()
        }
    }
}

// Inside ProxyServer, `listen` is its own.
private func systemListen(_ socket: Int32, _ backlog: Int32) { listen(socket, backlog) }
