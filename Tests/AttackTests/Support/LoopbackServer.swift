import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// A destination on loopback.
enum LoopbackServer {
    /// Echo what comes, until `body` is done.
    static func echoing<R>(_ body: (UInt16) async throws -> R) async throws -> R {
        try await self.serving({ Echo(received: nil) }, body)
    }

    /// Count the bytes that come, and answer nothing, until `body` is done.
    static func counting<R>(_ body: (UInt16, NIOLockedValueBox<Int>) async throws -> R) async throws -> R {
        let received = NIOLockedValueBox(0)
        return try await self.serving({ Echo(received: received) }) { port in try await body(port, received) }
    }

    private static func serving<R>(
        _ make: @escaping @Sendable () -> Echo, _ body: (UInt16) async throws -> R
    ) async throws -> R {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(make()) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = UInt16(clamping: listener.localAddress?.port ?? 0)
        do {
            let result = try await body(port)
            try? await listener.close().get()
            return result
        } catch {
            try? await listener.close().get()
            throw error
        }
    }

    private final class Echo: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let received: NIOLockedValueBox<Int>?

        init(received: NIOLockedValueBox<Int>?) { self.received = received }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = self.unwrapInboundIn(data)
            if let received { return received.withLockedValue { $0 += bytes.readableBytes } }
            context.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .inputClosed = event as? ChannelEvent { context.close(mode: .output, promise: nil) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
