package import NIOCore
import NIOTLS
import OnionCells

extension Link: ChannelInboundHandler {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    package func handlerAdded(context: ChannelHandlerContext) { self.attached(to: context) }

    package func handlerRemoved(context: ChannelHandlerContext) { self.detached() }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent { self.handshakeCompleted() }
        context.fireUserInboundEventTriggered(event)
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.bytesReceived(self.unwrapInboundIn(data))
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) { self.writabilityChanged() }

    package func channelInactive(context: ChannelHandlerContext) { self.ended() }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Whatever TLS or the socket says, the link is over; what the error says of the peer is not for the log.
        self.close(error as? LinkError ?? .closed)
    }
}

@available(*, unavailable)
extension Link: Sendable {}
