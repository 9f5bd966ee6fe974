import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOTLS
package import OnionAddress
import OnionLink

/// Somebody at the directory's port, with proper TLS and no manners.
package final class DirectoryPeer: Sendable {
    private struct State {
        var isSecure = false
        var isClosed = false
    }

    private let channel: any Channel
    private let state: NIOLockedValueBox<State>

    private init(channel: any Channel, state: NIOLockedValueBox<State>) {
        self.channel = channel
        self.state = state
    }

    /// Connect, and return once TLS is up.
    package static func connect(to directory: Endpoint) async throws -> DirectoryPeer {
        let state = NIOLockedValueBox(State())
        let tls = try LinkTLS(credentials: nil, protocol: .directory)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: nil)
                    try channel.pipeline.syncOperations.addHandler(Watch(state))
                }
            }
            .connect(to: SocketAddress(directory)).get()
        try await Wait.until("TLS with the directory is up") { state.withLockedValue { $0.isSecure || $0.isClosed } }
        return DirectoryPeer(channel: channel, state: state)
    }

    package var isClosed: Bool { self.state.withLockedValue { $0.isClosed } }

    package func send(_ bytes: [UInt8]) { self.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    package func close() async { try? await self.channel.close().get() }

    private final class Watch: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let state: NIOLockedValueBox<State>

        init(_ state: NIOLockedValueBox<State>) { self.state = state }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .handshakeCompleted = event as? TLSUserEvent { self.state.withLockedValue { $0.isSecure = true } }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

        func channelInactive(context: ChannelHandlerContext) { self.state.withLockedValue { $0.isClosed = true } }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
