import NIOCore
import NIOTLS

/// Closes a connection whose TLS handshake did not agree on exactly our protocol, or did not end in time.
///
/// It stays silent otherwise and leaves the pipeline once the handshake is done, passing the event on.
///
/// - Source: DESIGN §5: ALPN is the version; both sides close unless exactly that was negotiated.
final class NegotiationGuard: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    /// How long a connection may take until TLS is up.
    static let handshakeTimeLimit = TimeAmount.seconds(10)

    private let expected: LinkProtocol
    private var timer: Scheduled<Void>?

    init(expecting expected: LinkProtocol) { self.expected = expected }

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.handshakeTimeLimit) {
            let context = bound.value
            context.fireErrorCaught(LinkError.handshakeTimedOut)
            context.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.timer = nil
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted(let negotiated) = event as? TLSUserEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        self.timer?.cancel()
        guard negotiated == self.expected.rawValue else {
            context.fireErrorCaught(LinkError.wrongProtocol)
            context.close(promise: nil)
            return
        }
        context.fireUserInboundEventTriggered(event)
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}

@available(*, unavailable)
extension NegotiationGuard: Sendable {}
