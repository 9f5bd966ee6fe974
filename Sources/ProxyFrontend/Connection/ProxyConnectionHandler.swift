internal import Logging
internal import NIOCore
internal import OnionAddress
internal import OnionCells
internal import OnionClient

/// Performs what ``ProxyConnection`` decides, on an accepted channel: on the client's event loop, with `autoRead` off and
/// half-closure allowed.
///
/// It stays in front of the stream's handler until that is in place, and only then leaves, so that no byte can fall
/// between the two.
final class ProxyConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let client: any StreamOpening
    private let listener: String
    private let limits: ProxyLimits
    private let policy: ProxyPolicy
    private let advice: AdviceLog
    private let logger: Logger
    private var machine: ProxyConnection
    private var timer: Scheduled<Void>?
    private var startedAt = NIODeadline.distantPast
    private var lastReadAt = NIODeadline.distantPast
    private var context: ChannelHandlerContext?

    /// - Parameters:
    ///   - client: opens streams on the channel's event loop.
    ///   - access: who may use the proxy.
    ///   - limits: time-outs and byte counts.
    ///   - policy: what it does with requests.
    ///   - listener: the listening address, for isolation.
    ///   - logger: gets failures at `debug`, without destinations.
    ///   - advice: tells the user what programs cannot be told.
    init(
        client: any StreamOpening, access: ProxyAccess, limits: ProxyLimits, policy: ProxyPolicy = ProxyPolicy(),
        listener: String, logger: Logger, advice: AdviceLog? = nil
    ) {
        self.client = client
        self.listener = listener
        self.limits = limits
        self.policy = policy
        self.advice = advice ?? AdviceLog(logger: logger)
        self.logger = logger
        self.machine = ProxyConnection(access: access, limits: limits)
    }

    /// In the initializer of an accepted channel, so before it is active.
    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.timer = nil
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        self.start(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.lastReadAt = context.eventLoop.now
        self.perform(self.machine.bytesReceived(Self.unwrapInboundIn(data)))
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.perform(self.machine.readCompleted())
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed: self.perform(self.machine.inputClosed())
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.machine.channelClosed()
        self.timer?.cancel()
        self.timer = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Resets and failed writes: nobody is left to tell.
        context.close(promise: nil)
    }

    private func start(_ context: ChannelHandlerContext) {
        self.startedAt = context.eventLoop.now
        self.lastReadAt = self.startedAt
        self.watchHandshake(context)
        context.read()
    }

    /// Wait until the handshake has been silent, or has taken, too long. Bytes do not move the timer: when it fires, it looks
    /// when the last came.
    private func watchHandshake(_ context: ChannelHandlerContext) {
        let due = min(self.lastReadAt + self.limits.handshakeSilence, self.startedAt + self.limits.handshakeTimeout)
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: due) {
            let isLate = context.eventLoop.now - self.startedAt >= self.limits.handshakeTimeout
            if isLate || context.eventLoop.now - self.lastReadAt >= self.limits.handshakeSilence {
                self.perform(self.machine.handshakeTimerFired())
            } else {
                self.watchHandshake(context)
            }
        }
    }

    private func watchLinger(_ context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(in: self.limits.lingerTimeout) {
            self.perform(self.machine.lingerTimerFired())
        }
    }

    private func perform(_ action: ProxyConnection.Action) {
        guard let context = self.context else { return }
        switch action {
        case .none: break
        case .read: context.read()
        case .send(let bytes):
            context.writeAndFlush(Self.wrapOutboundOut(bytes), promise: nil)
            self.perform(self.machine.advance())
        case .open(let host, let port, let request, let earlyData):
            self.timer?.cancel()
            self.logger.debug("stream asked for", metadata: ["stream.target": "\(Scrubbed("\(host):\(port)"))"])
            if self.policy.refusesAddresses, IPAddress(host) != nil { return self.failed(StreamFailure.addressRefused) }
            guard let wish = try? request.exitWish() else { return self.failed(StreamFailure.wishNotUnderstood) }
            let isolation = self.isolation(request, context)
            self.open(
                StreamRequest(host: host, port: port, isolation: isolation, exit: wish, earlyData: earlyData), context)
        case .lookUp(let query, let request):
            self.timer?.cancel()
            guard let wish = try? request.exitWish() else { return self.failed(StreamFailure.wishNotUnderstood) }
            self.lookUp(query, self.isolation(request, context), wish, context)
        case .sendAndLinger(let bytes):
            context.writeAndFlush(Self.wrapOutboundOut(bytes), promise: nil)
            context.close(mode: .output, promise: nil)
            self.watchLinger(context)
            context.read()
        // Only asked for where a stream is at hand: see opened(_:).
        case .attach, .discard: break
        case .handOver(let later, let inputClosed, let forwarding):
            if forwarding {
                do {
                    try context.pipeline.syncOperations.addHandlers(
                        HTTPForwardHandler.handlers(), position: .after(self))
                } catch {
                    return context.close(promise: nil)
                }
            }
            if later.readableBytes > 0 {
                context.fireChannelRead(Self.wrapInboundOut(later))
                context.fireChannelReadComplete()
            }
            if inputClosed { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        case .close: context.close(promise: nil)
        }
    }

    private func open(_ request: StreamRequest, _ context: ChannelHandlerContext) {
        self.client.open(request, until: context.channel.closeFuture).hop(to: context.eventLoop).assumeIsolated()
            .whenComplete { result in
                switch result {
                case .success(let stream): self.opened(stream)
                case .failure(let error): self.failed(error)
                }
            }
    }

    private func opened(_ stream: OpenedStream) {
        switch self.machine.streamOpened() {
        case .attach(let reply):
            guard let context = self.context else { return stream.discard() }
            context.writeAndFlush(Self.wrapOutboundOut(reply), promise: nil)
            stream.attach(to: context.channel).hop(to: context.eventLoop).assumeIsolated().whenComplete { result in
                switch result {
                case .success: self.perform(self.machine.attached())
                case .failure: self.perform(.close)
                }
            }
        case .none, .read, .send, .open, .lookUp, .sendAndLinger, .discard, .handOver, .close: stream.discard()
        }
    }

    private func lookUp(_ query: Resolve, _ isolation: IsolationKey, _ exit: ExitWish, _ context: ChannelHandlerContext)
    {
        self.client.resolve(query, isolation: isolation, exit: exit, until: context.channel.closeFuture)
            .hop(to: context.eventLoop).assumeIsolated()
            .whenComplete { result in
                switch result {
                case .success(let resolved): self.perform(self.machine.lookUpCompleted(resolved))
                case .failure(let error): self.failed(error)
                }
            }
    }

    private func failed(_ error: any Error) {
        let failure = error as? StreamFailure ?? .ended(.unspecified)
        self.logger.debug("request failed", metadata: ["error.code": "\(failure.logText)"])
        self.advice.failed(failure)
        self.perform(self.machine.requestFailed(failure))
    }

    private func isolation(_ request: ProxyRequest, _ context: ChannelHandlerContext) -> IsolationKey {
        IsolationKey(
            listener: self.listener, clientAddress: context.channel.remoteAddress?.ipAddress ?? "",
            protocolName: request.proxyProtocol.rawValue, username: request.credentials.username,
            password: request.credentials.password,
            destination: self.policy.isolatesDestinations ? request.target.destination : nil)
    }
}

@available(*, unavailable)
extension ProxyConnectionHandler: Sendable {}
