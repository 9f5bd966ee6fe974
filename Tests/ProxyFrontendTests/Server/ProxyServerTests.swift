import Foundation
import Logging
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Proxy server over TCP")
struct ProxyServerTests {
    /// Connects every stream to an echo; refuses port 81.
    private struct EchoClient: StreamOpening {
        let eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()

        func open(_ request: StreamRequest, until gone: EventLoopFuture<Void>?) -> EventLoopFuture<OpenedStream> {
            guard request.port != 81 else {
                return self.eventLoop.makeFailedFuture(StreamFailure.ended(.connectionRefused))
            }
            return self.eventLoop.makeSucceededFuture(
                OpenedStream(
                    connected: Connected(address: .v4(1), ttlSeconds: 1),
                    attach: { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHandler(EchoEdge(early: request.earlyData))
                        }
                    }, discard: {}))
        }

        func resolve(
            _ query: Resolve, isolation: IsolationKey, exit: ExitWish, until gone: EventLoopFuture<Void>?
        ) -> EventLoopFuture<Resolved> {
            self.eventLoop.makeFailedFuture(StreamFailure.noCircuit)
        }
    }

    private final class EchoEdge: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let early: ByteBuffer

        init(early: ByteBuffer) { self.early = early }

        func handlerAdded(context: ChannelHandlerContext) {
            context.writeAndFlush(Self.wrapOutboundOut(self.early), promise: nil)
            context.read()
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { context.writeAndFlush(data, promise: nil) }

        func channelReadComplete(context: ChannelHandlerContext) { context.read() }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case ChannelEvent.inputClosed = event { context.close(promise: nil) }
        }
    }

    /// Collects what comes until the other side closes.
    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let all: EventLoopPromise<[UInt8]>
        private var received: [UInt8] = []

        init(_ all: EventLoopPromise<[UInt8]>) { self.all = all }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.received += Self.unwrapInboundIn(data).readableBytesView
        }

        func channelInactive(context: ChannelHandlerContext) { self.all.succeed(self.received) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private func connect(_ port: UInt16) async throws -> (channel: any Channel, answer: EventLoopFuture<[UInt8]>) {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let all = loop.makePromise(of: [UInt8].self)
        let channel = try await ClientBootstrap(group: loop)
            .channelOption(.allowRemoteHalfClosure, value: false)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(all))
                }
            }
            .connect(host: "127.0.0.1", port: Int(port)).get()
        return (channel, all.futureResult)
    }

    /// Run a server on a free port while `body` uses it.
    private func withServer(
        limits: ProxyLimits = ProxyLimits(), _ body: (UInt16, ProxyServer) async throws -> Void
    ) async throws {
        let (ports, listening) = AsyncStream.makeStream(of: UInt16.self)
        let address = try ProxyListenAddress(host: "127.0.0.1", port: 0, allowsNonLoopback: false, access: .open)
        let server = ProxyServer(
            configuration: .init(listenAddresses: [address], access: .open, limits: limits), client: EchoClient(),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            onListening: { listening.yield($0.port ?? 0) })
        let running = Task {
            defer { listening.finish() }
            try await server.run()
        }
        var port: UInt16?
        for await first in ports {
            port = first
            break
        }
        if let port { try await body(port, server) } else { Issue.record("not listening") }
        running.cancel()
        _ = try await running.value
    }

    @Test("a conversation byte by byte, and all at once, echoes to the end after a half-close")
    func echo() async throws {
        let conversation = SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test")) + bytes("hello")
        let expected = [5, 0] + socks5Failure(0) + bytes("hello")
        try await self.withServer { port, server in
            let whole = try await self.connect(port)
            try await whole.channel.writeAndFlush(ByteBuffer(bytes: conversation)).get()
            try await whole.channel.close(mode: .output).get()
            #expect(try await whole.answer.get() == expected)

            let slow = try await self.connect(port)
            for byte in conversation { try await slow.channel.writeAndFlush(ByteBuffer(bytes: [byte])).get() }
            try await slow.channel.close(mode: .output).get()
            #expect(try await slow.answer.get() == expected)

            let client = ClientStatus(progress: ClientProgress(percent: 100, text: "ready"))
            let traffic = try await server.status(EchoClient().eventLoop.makeSucceededFuture(client)).get().traffic
            #expect(traffic.inByteCount == UInt64(2 * expected.count))
            #expect(traffic.outByteCount == UInt64(2 * conversation.count))
        }
    }

    @Test("a refusal arrives although the application had more to say")
    func refusal() async throws {
        try await self.withServer { port, _ in
            let (channel, answer) = try await self.connect(port)
            let request = SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test"), port: 81)
            try await channel.writeAndFlush(ByteBuffer(bytes: request + [UInt8](repeating: 1, count: 100_000))).get()
            #expect(try await answer.get() == [5, 0] + socks5Failure(5))
        }
    }

    @Test(
        "nonsense ends its own connection alone",
        arguments: [
            [9], [0x16, 3, 1], [5, 0], [4, 9] + bytes("qz"), bytes("GET qz HTTP/9.9\r\n\r\n"), bytes("\r\n\0"),
        ])
    func nonsense(_ words: [UInt8]) async throws {
        try await self.withServer { port, _ in
            let other = try await self.connect(port)
            try await other.channel.writeAndFlush(
                ByteBuffer(bytes: SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test")) + bytes("before"))
            ).get()
            for _ in 0..<10 {
                let one = try await self.connect(port)
                // The server may be the first to close.
                try? await one.channel.writeAndFlush(ByteBuffer(bytes: words)).get()
                try? await one.channel.close(mode: .output).get()
                _ = try await one.answer.get()
            }
            // That one said all it had to, and its stream lives.
            try await other.channel.writeAndFlush(ByteBuffer(bytes: bytes("behind"))).get()
            try await other.channel.close(mode: .output).get()
            #expect(try await other.answer.get() == [5, 0] + socks5Failure(0) + bytes("beforebehind"))
        }
    }

    @Test("a connection above the limit is closed")
    func limit() async throws {
        var limits = ProxyLimits()
        limits.connectionCount = 1
        try await self.withServer(limits: limits) { port, _ in
            let first = try await self.connect(port)
            try await first.channel.writeAndFlush(ByteBuffer(bytes: SOCKS5Bytes.greeting)).get()
            let second = try await self.connect(port)
            #expect(try await second.answer.get().isEmpty)
            try await first.channel.close().get()
        }
    }

    @Test("a stop closes the connections that are open")
    func stop() async throws {
        var answer: EventLoopFuture<[UInt8]>?
        try await self.withServer { port, _ in
            let idle = try await self.connect(port)
            answer = idle.answer
            let used = try await self.connect(port)
            try await used.channel.writeAndFlush(ByteBuffer(bytes: [9])).get()
            #expect(try await used.answer.get().isEmpty)
        }
        #expect(try await answer?.get().isEmpty == true)
    }

    @Test("every listener rests when nothing can be accepted", arguments: [true, false])
    func pausing(isUnix: Bool) async throws {
        let path = "/tmp/thor-proxy-\(UInt32.random(in: 0 ... .max)).socket"
        defer { unlink(path) }
        let address =
            isUnix
            ? try ProxyListenAddress(unixPath: path)
            : try ProxyListenAddress(host: "127.0.0.1", port: 0, allowsNonLoopback: false, access: .open)
        let client = EchoClient()
        let server = ProxyServer(
            configuration: .init(listenAddresses: [address], access: .open), client: client,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }), onListening: { _ in })
        let listener = try await server.bind(
            address, NIOLoopBoundBox.makeBoxSendingValue(ConnectionRegistry(), eventLoop: client.eventLoop)
        ).channel
        let handlers = try await client.eventLoop.submit { listener.pipeline.debugDescription }.get()
        #expect(handlers.contains("AcceptPause"), "\(handlers)")
        try await listener.close().get()
    }

    @Test("a port that is taken is told")
    func portTaken() async throws {
        try await self.withServer { port, _ in
            let address = try ProxyListenAddress(
                host: "127.0.0.1", port: port, allowsNonLoopback: false, access: .open)
            let second = ProxyServer(
                configuration: .init(listenAddresses: [address], access: .open), client: EchoClient(),
                logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }), onListening: { _ in })
            await #expect(
                throws: ProxyError.cannotListen(
                    address: "127.0.0.1:\(port)", reason: "Address already in use", errno: EADDRINUSE)
            ) { try await second.run() }
        }
    }

    @Test("the request of a program that closes before it has said anything is taken back", .timeLimit(.minutes(1)))
    func programGone() async throws {
        let client = FakeClient(eventLoop: MultiThreadedEventLoopGroup.singleton.next())
        defer { client.finish() }
        let address = try ProxyListenAddress(host: "127.0.0.1", port: 0, allowsNonLoopback: false, access: .open)
        let server = ProxyServer(
            configuration: .init(listenAddresses: [address], access: .open), client: client,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }), onListening: { _ in })
        let connections = NIOLoopBoundBox.makeBoxSendingValue(ConnectionRegistry(), eventLoop: client.eventLoop)
        let listener = try await server.bind(address, connections).channel
        let (channel, _) = try await self.connect(UInt16(try #require(listener.localAddress?.port)))
        let request = SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test"))
        try await channel.writeAndFlush(ByteBuffer(bytes: request)).get()
        while client.requests.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        #expect(client.withdrawnCount == 0)
        // An end in order, and no reset: as when the program closes after it has read the reply to its greeting.
        try await channel.close(mode: .output).get()
        while client.withdrawnCount == 0 { try await Task.sleep(for: .milliseconds(1)) }
        try await listener.close().get()
    }

    @Test(
        "listens on a Unix socket for its owner alone, in place of a dead one, not of a live one",
        .timeLimit(.minutes(1)))
    func unixSocket() async throws {
        let path = "/tmp/thor-proxy-\(UInt32.random(in: 0 ... .max)).socket"
        let address = try ProxyListenAddress(unixPath: path)
        let dead = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
        try await dead.close().get()
        let (names, listening) = AsyncStream.makeStream(of: String.self)
        func server() -> ProxyServer {
            ProxyServer(
                configuration: .init(listenAddresses: [address], access: .open), client: EchoClient(),
                logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
                onListening: { listening.yield("\($0)") })
        }
        let running = Task {
            defer { listening.finish() }
            try await server().run()
        }
        var iterator = names.makeAsyncIterator()
        #expect(await iterator.next() == "unix:\(path)")
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        await #expect(throws: ProxyError.self) { try await server().run() }

        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let all = loop.makePromise(of: [UInt8].self)
        let channel = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(all))
                }
            }
            .connect(unixDomainSocketPath: path).get()
        let request = SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test")) + bytes("hello")
        try await channel.writeAndFlush(ByteBuffer(bytes: request))
        try await channel.close(mode: .output)
        let answer = try await all.futureResult.get()
        #expect(answer == [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0] + bytes("hello"))

        // The path becomes another's, and stays it.
        unlink(path)
        let other = try UserSocket.make(at: path)
        defer {
            other.removeFile()
            close(other.descriptor)
        }
        running.cancel()
        _ = try await running.value
        #expect(FileManager.default.fileExists(atPath: path))
    }

    @Test("a Unix socket goes with its listener", .timeLimit(.minutes(1)))
    func unixSocketGoes() async throws {
        let path = "/tmp/thor-proxy-\(UInt32.random(in: 0 ... .max)).socket"
        let address = try ProxyListenAddress(unixPath: path)
        let (names, listening) = AsyncStream.makeStream(of: String.self)
        let server = ProxyServer(
            configuration: .init(listenAddresses: [address], access: .open), client: EchoClient(),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            onListening: { listening.yield("\($0)") })
        let running = Task {
            defer { listening.finish() }
            try await server.run()
        }
        for await _ in names { running.cancel() }
        _ = try await running.value
        #expect(!FileManager.default.fileExists(atPath: path))
    }
}
