import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Stands in front of a router, and cuts the connections through it when told to.
final class CuttableRelay: Sendable {
    let port: UInt16
    private let listener: any Channel
    private let target: NIOLockedValueBox<UInt16?>
    private let connections: NIOLockedValueBox<[ObjectIdentifier: any Channel]>

    init(group: any EventLoopGroup) async throws {
        let target = NIOLockedValueBox<UInt16?>(nil)
        let connections = NIOLockedValueBox<[ObjectIdentifier: any Channel]>([:])
        self.listener = try await ServerBootstrap(group: group)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { near in
                guard let port = target.withLockedValue({ $0 }) else { return near.close() }
                connections.withLockedValue { $0[ObjectIdentifier(near)] = near }
                near.closeFuture.whenComplete { _ in
                    connections.withLockedValue { _ = $0.removeValue(forKey: ObjectIdentifier(near)) }
                }
                return ClientBootstrap(group: near.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .connect(host: "127.0.0.1", port: Int(port))
                    .flatMapThrowing { far in
                        try near.pipeline.syncOperations.addHandler(PassOn(to: far))
                        try far.pipeline.syncOperations.addHandler(PassOn(to: near))
                        far.read()
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.port = UInt16(self.listener.localAddress?.port ?? 0)
        self.target = target
        self.connections = connections
    }

    /// Where connections go from now on.
    func pass(to port: UInt16) { self.target.withLockedValue { $0 = port } }

    /// Close what is connected now.
    func cut() {
        for channel in self.connections.withLockedValue({ Array($0.values) }) { channel.close(promise: nil) }
    }

    func stop() async {
        try? await self.listener.close()
        self.cut()
    }

    /// One direction: reads no more than the other side has taken. Both channels are on one event loop.
    private final class PassOn: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let peer: any Channel
        init(to peer: any Channel) { self.peer = peer }

        func channelActive(context: ChannelHandlerContext) { context.read() }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let channel = context.channel
            self.peer.writeAndFlush(self.unwrapInboundIn(data)).whenSuccess { channel.read() }
        }

        func channelInactive(context: ChannelHandlerContext) { self.peer.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
