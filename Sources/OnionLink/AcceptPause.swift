package import NIOCore
package import NIOPosix

/// Lets a listener rest for a second when it cannot accept: without descriptors an accept fails at once, again and again.
///
/// NIO's own handler for this holds back what asks for reads, and a listener that has asked stays asked for: its event loop
/// spins. This one takes the listener out of what the loop waits for.
package final class AcceptPause: ChannelInboundHandler {
    package typealias InboundIn = any Channel

    private static let time = TimeAmount.seconds(1)

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard error is IOError, let options = context.channel.syncOptions else { return context.fireErrorCaught(error) }
        // A listener that is closed meanwhile takes no option, and needs none.
        try? options.setOption(.autoRead, value: false)
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.time) {
            try? options.setOption(.autoRead, value: true)
        }
    }
}

@available(*, unavailable)
extension AcceptPause: Sendable {}

extension ServerBootstrap {
    /// Let the listener rest when it cannot accept.
    package func pausingWhenAcceptFails() -> ServerBootstrap {
        self.serverChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(AcceptPause()) }
        }
    }
}
