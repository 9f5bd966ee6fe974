import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Stands in front of a router, and cuts the connections through it when told to, or does them other harm.
final class CuttableRelay: Sendable {
    /// What becomes of a connection.
    enum Harm: Sendable, CaseIterable {
        case cut
        /// The receiver hears that the sender has ended; what the receiver says still goes through.
        case halfClose
        /// Nothing passes any more, and nobody is told.
        case freeze
    }

    let port: UInt16
    /// The harm that comes to the connection over which the last of so many bytes goes.
    private let planned = NIOLockedValueBox<(byteCount: Int, harm: Harm)?>(nil)
    private let listener: any Channel
    private let target: NIOLockedValueBox<UInt16?>
    private let connections: NIOLockedValueBox<[ObjectIdentifier: any Channel]>

    init(group: any EventLoopGroup) async throws {
        let target = NIOLockedValueBox<UInt16?>(nil)
        let connections = NIOLockedValueBox<[ObjectIdentifier: any Channel]>([:])
        let planned = self.planned
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
                        try near.pipeline.syncOperations.addHandler(PassOn(to: far, planned: planned))
                        try far.pipeline.syncOperations.addHandler(PassOn(to: near, planned: planned))
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

    /// Do harm to one connection, after so many more bytes of all of them, both ways; nil takes it back.
    func plan(_ harm: Harm?, after byteCount: Int = 0) {
        self.planned.withLockedValue { $0 = harm.map { (byteCount, $0) } }
    }

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
        private let planned: NIOLockedValueBox<(byteCount: Int, harm: Harm)?>
        private var isOver = false

        init(to peer: any Channel, planned: NIOLockedValueBox<(byteCount: Int, harm: Harm)?>) {
            self.peer = peer
            self.planned = planned
        }

        func channelActive(context: ChannelHandlerContext) { context.read() }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let channel = context.channel
            var bytes = self.unwrapInboundIn(data)
            guard !self.isOver else { return }
            guard let (passing, harm) = self.due(bytes.readableBytes) else {
                return self.peer.writeAndFlush(bytes).whenSuccess { channel.read() }
            }
            self.isOver = true
            let peer = self.peer
            let last = bytes.readSlice(length: passing) ?? bytes
            self.peer.writeAndFlush(last).whenComplete { _ in
                switch harm {
                case .cut: channel.close(promise: nil)
                case .halfClose: peer.close(mode: .output, promise: nil)
                case .freeze: break
                }
            }
        }

        /// Count bytes; if the planned harm is due, return how many of them still pass.
        private func due(_ byteCount: Int) -> (passing: Int, harm: Harm)? {
            self.planned.withLockedValue { planned in
                guard let (left, harm) = planned else { return nil }
                if byteCount < left {
                    planned = (left - byteCount, harm)
                    return nil
                }
                planned = nil
                return (left, harm)
            }
        }

        func channelInactive(context: ChannelHandlerContext) { self.peer.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
