import Foundation
import Glibc
import NIOCore
import NIOPosix
import OnionLink
import TestSupport
import Testing

@testable import Confinement

@Suite("Forwarded ports", .timeLimit(.minutes(1)))
struct PortForwarderTests {
    /// What came until the end, and how it ended.
    private struct Ending: Equatable, Sendable {
        var bytes: ByteBuffer
        var isBroken = false
    }

    /// Collects what comes; at the end of the input answers, if it is to, and closes.
    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let ended: EventLoopPromise<Ending>
        private let answers: Bool
        private var bytes = ByteBuffer()

        init(ended: EventLoopPromise<Ending>, answers: Bool) {
            self.ended = ended
            self.answers = answers
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.bytes.writeImmutableBuffer(Self.unwrapInboundIn(data))
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard case .inputClosed = event as? ChannelEvent else { return }
            self.ended.succeed(Ending(bytes: self.bytes))
            guard self.answers else { return context.close(promise: nil) }
            context.writeAndFlush(Self.wrapOutboundOut(self.bytes)).assumeIsolated().whenComplete { _ in
                context.close(promise: nil)
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.ended.succeed(Ending(bytes: self.bytes, isBroken: true))
            context.close(promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) { self.ended.succeed(Ending(bytes: self.bytes)) }
    }

    /// Run a forwarder to a server whose connections are set up by `accepted`; `body` gets the forwarder's port.
    private func forward(
        _ accepted: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>,
        _ body: (UInt16) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let server = try await ServerBootstrap(group: group)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer(accepted).bind(host: "127.0.0.1", port: 0).get()
        let (listener, port) = try ReservedPort.listen()
        let forwarder = try await PortForwarder.serve(
            listener, to: .loopback(port: UInt16(server.localAddress?.port ?? 0)))
        try await body(port)
        await forwarder.stop()
        try await server.close()
    }

    @Test("every byte arrives both ways, and a half-close with it")
    func halfClose() async throws {
        let bytes = ByteBuffer(bytes: (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        let heard = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Ending.self)
        try await self.forward(
            { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(ended: heard, answers: true))
                }
            },
            { port in
                let ended = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Ending.self)
                let client = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .channelOption(.allowRemoteHalfClosure, value: true)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHandler(Collector(ended: ended, answers: false))
                        }
                    }
                    .connect(host: "127.0.0.1", port: Int(port)).get()
                try await client.writeAndFlush(bytes)
                try await client.close(mode: .output)
                #expect(try await heard.futureResult.get() == Ending(bytes: bytes))
                #expect(try await ended.futureResult.get() == Ending(bytes: bytes))
            })
    }

    @Test("a listener that cannot accept rests")
    func pause() async throws {
        let (listener, _) = try ReservedPort.listen()
        let forwarder = try await PortForwarder.serve(listener, to: .unix(path: "/nowhere"))
        let channel = forwarder.channel
        try await channel.eventLoop.submit { _ = try channel.pipeline.syncOperations.handler(type: AcceptPause.self) }
            .get()
        await forwarder.stop()
    }

    @Test("a reset is a reset")
    func reset() async throws {
        try await self.forward(
            { channel in
                guard let options = channel as? any SocketOptionProvider else {
                    return channel.eventLoop.makeSucceededVoidFuture()
                }
                return options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).map { channel.close(promise: nil) }
            },
            { port in
                // A socket of its own, and not a channel: a channel may tell of a reset as of an end.
                let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
                defer { close(client) }
                let place = try SocketAddress(ipAddress: "127.0.0.1", port: Int(port))
                #expect(place.withSockAddr { Glibc.connect(client, $0, socklen_t($1)) } == 0)
                var wait = pollfd(fd: client, events: Int16(POLLIN), revents: 0)
                #expect(poll(&wait, 1, 30_000) == 1)
                var byte: UInt8 = 0
                #expect(recv(client, &byte, 1, 0) == -1 && errno == ECONNRESET)
            })
    }
}
