import NIOCore
import NIOTLS
import OnionCrypto
import OnionDirectory
import OnionLink

/// Speaks with the directory over one channel: frames in and out, the Hello, and who waits for which answer.
///
/// Lives on its channel's event loop.
final class DirectoryClientHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Waiting {
        let promise: EventLoopPromise<DirectoryMessage>
        let timer: Scheduled<Void>
    }

    private let peer: PeerKey
    private let directoryKey: Ed25519PublicKey
    private let opened: EventLoopPromise<Void>
    private let timeLimit: TimeAmount
    private let unixSeconds: @Sendable () -> UInt64
    private var exchange = DirectoryExchange()
    private var decoder = DirectoryFrameDecoder(receiver: .participant)
    private var waiting: [DirectoryExchange.Question: Waiting] = [:]
    private var openTimer: Scheduled<Void>?
    private var isSecure = false
    /// Why the connection ended, once it has.
    private var failure: DirectoryConnectionError?
    private var context: ChannelHandlerContext?

    /// - Parameters:
    ///   - opened: succeeds when the Hello has been verified, or fails.
    ///   - timeLimit: for TLS and Hello together.
    ///   - unixSeconds: the time of day, against which the Hello is held.
    init(
        peer: PeerKey, directoryKey: Ed25519PublicKey, opened: EventLoopPromise<Void>, timeLimit: TimeAmount,
        unixSeconds: @escaping @Sendable () -> UInt64 = { TimeAndChance.system.unixSeconds }
    ) {
        self.peer = peer
        self.directoryKey = directoryKey
        self.opened = opened
        self.timeLimit = timeLimit
        self.unixSeconds = unixSeconds
    }

    /// Succeeds when the Hello has been verified; when it fails the channel is closed.
    var openedFuture: EventLoopFuture<Void> { self.opened.futureResult }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.openTimer = context.eventLoop.assumeIsolated().scheduleTask(in: self.timeLimit) {
            bound.value.end(.timedOut)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.end(.closed)
        self.context = nil
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent { self.isSecure = true }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.decoder.append(self.unwrapInboundIn(data))
        do throws(DirectoryError) {
            while self.failure == nil, let message = try self.decoder.next() { self.received(message) }
        } catch {
            self.end(.protocolViolation(error))
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.end(self.isSecure ? .closed : .notADirectory(why: "it closed the connection during the TLS handshake"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.end(self.isSecure ? .closed : .notADirectory(why: DirectoryConnectionError.words(error)))
    }

    /// Send a request; `promise` gets its answer.
    func ask(
        _ question: DirectoryExchange.Question, _ message: DirectoryMessage, timeLimit: TimeAmount,
        promise: EventLoopPromise<DirectoryMessage>
    ) {
        guard let context else { return promise.fail(self.failure ?? .closed) }
        var frame = context.channel.allocator.buffer(capacity: 256)
        do {
            try self.exchange.asked(question)
            try message.write(to: &frame)
        } catch {
            return promise.fail(self.failure ?? error)
        }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let timer = context.eventLoop.assumeIsolated().scheduleTask(in: timeLimit) { bound.value.end(.timedOut) }
        self.waiting[question] = Waiting(promise: promise, timer: timer)
        context.writeAndFlush(self.wrapOutboundOut(frame), promise: nil)
    }

    private func received(_ message: DirectoryMessage) {
        switch self.exchange.received(message) {
        case .checkHello(let bytes):
            do throws(DirectoryError) {
                let hello = try DirectoryHello(verifying: bytes, directoryKey: self.directoryKey)
                guard let peer = self.peer.publicKey else { throw .wrongLinkKey }
                try hello.check(peer: peer, now: self.unixSeconds())
                self.exchange.helloVerified()
                self.openTimer?.cancel()
                self.opened.succeed()
            } catch {
                self.end(DirectoryConnectionError(document: error))
            }
        case .answer(let question, let message):
            guard let waiting = self.waiting.removeValue(forKey: question) else { return }
            waiting.timer.cancel()
            waiting.promise.succeed(message)
        case .close(let error): self.end(error)
        }
    }

    /// End the connection once, and tell everybody who waits why.
    private func end(_ error: DirectoryConnectionError) {
        guard self.failure == nil else { return }
        self.failure = error
        self.exchange.closed()
        self.openTimer?.cancel()
        self.opened.fail(error)
        let waiting = self.waiting
        self.waiting = [:]
        for (_, waiting) in waiting {
            waiting.timer.cancel()
            waiting.promise.fail(error)
        }
        self.context?.close(promise: nil)
    }
}

@available(*, unavailable)
extension DirectoryClientHandler: Sendable {}
