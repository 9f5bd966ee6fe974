import Glibc
package import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// A destination on loopback, which does to whoever connects what destinations do.
package enum LoopbackServer {
    /// What a destination does.
    package enum Habit: Sendable {
        /// Send back what comes.
        case echo
        /// Take what comes, and answer nothing.
        case count
        /// Send as much as is taken, for ever; read nothing.
        case source
        /// Send one byte every tenth of a second; read nothing.
        case trickle
        /// Reset the connection after the first bytes.
        case reset
        /// Read nothing at all, and say nothing.
        case deaf
    }

    /// What a destination has seen.
    package struct Tally: Sendable {
        package var connectionCount = 0
        package var byteCount = 0
    }

    /// Echo what comes, until `body` is done.
    package static func echoing<R>(_ body: (UInt16) async throws -> R) async throws -> R {
        try await self.serving(.echo) { port, _ in try await body(port) }
    }

    /// Count what comes, and answer nothing, until `body` is done.
    package static func counting<R>(
        _ body: (UInt16, NIOLockedValueBox<Tally>) async throws -> R
    ) async throws -> R {
        try await self.serving(.count, body)
    }

    /// Serve on a loopback address until `body` is done.
    package static func serving<R>(
        _ habit: Habit, host: String = "127.0.0.1", port: UInt16 = 0,
        _ body: (UInt16, NIOLockedValueBox<Tally>) async throws -> R
    ) async throws -> R {
        let tally = NIOLockedValueBox(Tally())
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 1024)
            // What is accepted inherits it: loopback would give each some megabytes, of what the attacked share with it.
            .serverChannelOption(.socketOption(.so_sndbuf), value: 256 * 1024)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.autoRead, value: habit.reads)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Destination(habit, tally))
                }
            }
            .bind(host: host, port: Int(port)).get()
        do {
            let result = try await body(UInt16(clamping: listener.localAddress?.port ?? 0), tally)
            try? await listener.close().get()
            return result
        } catch {
            try? await listener.close().get()
            throw error
        }
    }

    private final class Destination: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private static let chunk = ByteBuffer(repeating: 0x54, count: 64 * 1024)
        private let habit: Habit
        private let tally: NIOLockedValueBox<Tally>
        private var timer: RepeatedTask?

        init(_ habit: Habit, _ tally: NIOLockedValueBox<Tally>) {
            self.habit = habit
            self.tally = tally
        }

        func channelActive(context: ChannelHandlerContext) {
            self.tally.withLockedValue { $0.connectionCount += 1 }
            switch self.habit {
            case .source: self.pour(context)
            case .trickle:
                let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
                self.timer = context.eventLoop.scheduleRepeatedTask(
                    initialDelay: .zero, delay: .milliseconds(100)
                ) { _ in
                    bound.value.writeAndFlush(NIOAny(ByteBuffer(bytes: [0x54])), promise: nil)
                }
            case .echo, .count, .reset, .deaf: break
            }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = self.unwrapInboundIn(data)
            self.tally.withLockedValue { $0.byteCount += bytes.readableBytes }
            switch self.habit {
            case .echo: context.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
            case .reset:
                let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
                // Closing with no time to linger resets.
                (context.channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
                    .whenComplete { _ in bound.value.close(promise: nil) }
            case .count, .source, .trickle, .deaf: break
            }
        }

        func channelWritabilityChanged(context: ChannelHandlerContext) { self.pour(context) }

        /// Write as long as the kernel takes it.
        private func pour(_ context: ChannelHandlerContext) {
            guard case .source = self.habit else { return }
            while context.channel.isActive, context.channel.isWritable {
                context.writeAndFlush(self.wrapOutboundOut(Self.chunk), promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) { self.timer?.cancel() }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .inputClosed = event as? ChannelEvent { context.close(mode: .output, promise: nil) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

extension LoopbackServer.Habit {
    fileprivate var reads: Bool {
        switch self {
        case .echo, .count, .reset: true
        case .source, .trickle, .deaf: false
        }
    }
}
