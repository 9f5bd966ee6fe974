import NIOCore
import NIOTLS
import OnionCrypto
import OnionDirectory
import OnionLink

/// What a directory connection tells the server.
enum DirectoryEvent: Sendable {
    /// TLS is up. The key is nil for a peer without a certificate.
    case opened(peerKey: Ed25519PublicKey?)
    case message(DirectoryMessage)
}

/// Turns a connection's bytes into messages and back, and ends connections that say nothing or nonsense.
///
/// Whole messages count as signs of life, single bytes do not: nobody holds a connection by trickling. Nor do messages of a
/// peer that does not take its answers. Lives on its channel's event loop.
final class DirectoryFrameHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = DirectoryEvent
    typealias OutboundIn = DirectoryMessage
    typealias OutboundOut = ByteBuffer

    /// From the connection's start to its first message.
    static let firstMessageTimeLimit = TimeAmount.seconds(15)
    /// Between two messages; longer than an answer to GetConsensus may wait.
    static let idleTimeLimit = TimeAmount.seconds(90)

    private let peer: PeerKey
    private let answers: AnswerBudget
    private var decoder = DirectoryFrameDecoder(receiver: .directory)
    private var idleTimer: Scheduled<Void>?
    /// Answers that the peer has not taken yet.
    private var waitingCount = 0

    /// - Parameter answers: counts what the peer has not read.
    init(peer: PeerKey, answers: AnswerBudget) {
        self.peer = peer
        self.answers = answers
    }

    func handlerAdded(context: ChannelHandlerContext) { self.startTimer(context, Self.firstMessageTimeLimit) }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.idleTimer?.cancel()
        self.idleTimer = nil
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent {
            context.fireChannelRead(self.wrapInboundOut(.opened(peerKey: self.peer.publicKey)))
            // A certificate is judged outside a read, and what is behind hands on only what a read completes.
            context.fireChannelReadComplete()
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.decoder.append(self.unwrapInboundIn(data))
        do {
            while let message = try self.decoder.next() {
                if self.waitingCount == 0 { self.startTimer(context, Self.idleTimeLimit) }
                context.fireChannelRead(self.wrapInboundOut(.message(message)))
            }
        } catch {
            context.fireErrorCaught(error)
            context.close(promise: nil)
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        var frame = context.channel.allocator.buffer(capacity: 256)
        do {
            try self.unwrapOutboundIn(data).write(to: &frame)
        } catch {
            promise?.fail(error)
            return context.close(promise: nil)
        }
        let byteCount = frame.readableBytes
        let channel = context.channel
        let connection = ObjectIdentifier(channel)
        let isTaken = self.answers.take(byteCount, for: connection, linkKey: self.peer.publicKey) {
            channel.close(promise: nil)
        }
        guard isTaken else {
            promise?.fail(ChannelError.operationUnsupported)
            return context.close(promise: nil)
        }
        self.waitingCount += 1
        let written = promise ?? context.eventLoop.makePromise()
        written.futureResult.assumeIsolated().whenComplete { _ in
            self.waitingCount -= 1
            self.answers.give(byteCount, from: connection)
        }
        context.write(self.wrapOutboundOut(frame), promise: written)
    }

    private func startTimer(_ context: ChannelHandlerContext, _ limit: TimeAmount) {
        self.idleTimer?.cancel()
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.idleTimer = context.eventLoop.assumeIsolated().scheduleTask(in: limit) {
            bound.value.close(promise: nil)
        }
    }
}

@available(*, unavailable)
extension DirectoryFrameHandler: Sendable {}
