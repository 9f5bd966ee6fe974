internal import NIOCore

/// Keeps what comes behind a request that is forwarded from the decoder, which would hold it: NIOHTTP1's stops behind a request
/// that asks for an upgrade, and behind a CONNECT, and waits to be removed.
final class ForwardedRequestGate: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    /// Tells ``HTTPForwardHandler`` of bytes that were dropped.
    enum Event { case moreCame }

    private let handler: HTTPForwardHandler

    init(_ handler: HTTPForwardHandler) { self.handler = handler }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard self.handler.isRequestOver else { return context.fireChannelRead(data) }
        // Old programs end a body with an empty line of its own, which says nothing (RFC 9112 §2.2).
        let isEmptyLine = self.unwrapInboundIn(data).readableBytesView.allSatisfy { $0 == 0x0D || $0 == 0x0A }
        if !isEmptyLine { context.fireUserInboundEventTriggered(Event.moreCame) }
    }
}

@available(*, unavailable)
extension ForwardedRequestGate: Sendable {}
