import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import Testing

@testable import OnionStreams

/// Two real TCP connections, joined by a stream between two edges: an application, and a server.
@Suite("Stream edge over loopback")
struct StreamEdgeTests {
    private static let sizes = [0, 1, 3_000_000]

    @Test("both byte streams arrive whole, whoever closes first", arguments: sizes, sizes)
    func wholeStreams(applicationBytes: Int, serverBytes: Int) async throws {
        try await withJoinedSockets { application, server, _ in
            async let fromServer = application.received()
            async let fromApplication = server.received()
            application.send(Pattern.buffer(from: 0, count: applicationBytes), closing: true)
            server.send(Pattern.buffer(from: 0, count: serverBytes), closing: true)
            let found1 = try await fromServer
            #expect(found1 == Pattern.buffer(from: 0, count: serverBytes))
            let found2 = try await fromApplication
            #expect(found2 == Pattern.buffer(from: 0, count: applicationBytes))
        }
    }

    @Test("an answer that begins only after the question has ended arrives whole")
    func answerAfterHalfClose() async throws {
        try await withJoinedSockets { application, server, _ in
            application.send(Pattern.buffer(from: 0, count: 10), closing: true)
            let found3 = try await server.received()
            #expect(found3.readableBytes == 10)
            server.send(Pattern.buffer(from: 0, count: 2_000_000), closing: true)
            let found4 = try await application.received()
            #expect(found4 == Pattern.buffer(from: 0, count: 2_000_000))
        }
    }

    @Test("a question that goes on after the answer has ended arrives whole")
    func questionAfterHalfClose() async throws {
        try await withJoinedSockets { application, server, _ in
            server.send(Pattern.buffer(from: 0, count: 10), closing: true)
            let found5 = try await application.received()
            #expect(found5.readableBytes == 10)
            application.send(Pattern.buffer(from: 0, count: 2_000_000), closing: true)
            let found6 = try await server.received()
            #expect(found6 == Pattern.buffer(from: 0, count: 2_000_000))
        }
    }

    @Test("a reset at one end is a reset at the other", arguments: [true, false])
    func reset(byServer: Bool) async throws {
        try await withJoinedSockets { application, server, _ in
            let (breaking, other) = byServer ? (server, application) : (application, server)
            breaking.send(Pattern.buffer(from: 0, count: 10), closing: false)
            breaking.reset()
            await #expect(throws: (any Error).self) { try await other.received() }
        }
    }

    @Test("a process that dies in the middle resets its sockets, and ends none in order")
    func death() async throws {
        try await withJoinedSockets { application, server, joint in
            joint.die()
            await #expect(throws: (any Error).self) { try await application.received() }
            await #expect(throws: (any Error).self) { try await server.received() }
        }
    }

    @Test("a circuit that is destroyed resets both sockets")
    func destroyed() async throws {
        try await withJoinedSockets { application, server, joint in
            joint.destroy()
            await #expect(throws: (any Error).self) { try await application.received() }
            await #expect(throws: (any Error).self) { try await server.received() }
        }
    }
}

/// Runs `body` with an application's and a server's socket, and checks afterwards that no stream is left.
private func withJoinedSockets(_ body: (Peer, Peer, Joint) async throws -> Void) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let loop = group.any()
    let joint = try await loop.submit { try Joint(loop) }.get()
    let server = try await joint.edge(isClient: false)
    let application = try await joint.edge(isClient: true)
    try await body(application, server, joint)
    let found7 = try await joint.streamCountOnceSettled()
    #expect(found7 == 0)
    try await application.close()
    try await server.close()
    try await group.shutdownGracefully()
}

/// A circuit whose ends are joined on one event loop. All state is on that loop.
private final class Joint: @unchecked Sendable {
    // @unchecked: touched on `loop` alone, to which the functions below hop.
    private final class End: CircuitEndpointOwner {
        var endpoint: CircuitEndpoint?
        weak var other: End?
        var opened: OnionStream?
        var inFlight = 0
        var tag: UInt64 = 0
        let loop: any EventLoop
        init(_ loop: any EventLoop) { self.loop = loop }
        func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool { self.inFlight < 32 }
        func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag {
            var payload = [UInt8](repeating: 0, count: Cell.payloadByteCount)
            do {
                var bytes = payload.mutableSpan
                var span = bytes.mutableBytes
                fill(&span)
            }
            self.tag += 1
            let tag = CellTag(high: self.tag, low: 3)
            let cell = payload
            self.inFlight += 1
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.loop.execute {
                bound.value.inFlight -= 1
                bound.value.other?.endpoint?.cellReceived(payload: cell.span.bytes, tag: tag)
                bound.value.endpoint?.roomAvailable()
            }
            return tag
        }
        func endpoint(
            _ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer
        ) throws(CircuitError) { self.opened = stream }
        func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason) {}
        func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError) {
            Issue.record("\(error)")
            endpoint.destroy(.unspecified)
        }
        func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream) {}
    }

    private let loop: any EventLoop
    private let client: End
    private let exit: End
    private let clientStream: OnionStream
    private var edges: [any Channel] = []

    init(_ loop: any EventLoop) throws {
        self.loop = loop
        let congestion = try CongestionParameters(initialWindow: 64)
        let limits = StreamLimits(
            gate: .init(high: 512 * 1024, low: 128 * 1024, inFlight: 1 << 25), halfClosedIdle: .seconds(60))
        let padding = PaddingSourceBox()
        func make(_ role: StreamLifecycle.Role) -> End {
            let end = End(loop)
            end.endpoint = CircuitEndpoint(
                role: role, eventLoop: loop, congestion: congestion, limits: limits, padding: padding, owner: end)
            return end
        }
        self.client = make(.client)
        self.exit = make(.exit)
        self.client.other = self.exit
        self.exit.other = self.client
        self.clientStream = try #require(self.client.endpoint?.open(.begin, data: TestCircuit.begin))
    }

    /// Make a connection on loopback with an edge at one end, and return the other.
    func edge(isClient: Bool) async throws -> Peer {
        let peer = Peer(self.loop)
        let listener = try await ServerBootstrap(group: self.loop).childChannelInitializer {
            channel in
            channel.eventLoop.makeCompletedFuture {
                try StreamEdge.configure(channel)
                let stream = isClient ? self.clientStream : self.exit.opened
                guard let stream else { throw ChannelError.ioOnClosedChannel }
                self.edges.append(channel)
                if !isClient { #expect(stream.connected(TestCircuit.connected)) }
                try channel.pipeline.syncOperations.addHandler(StreamEdge(stream: stream))
            }
        }.bind(host: "127.0.0.1", port: 0).get()
        try await peer.connect(to: try #require(listener.localAddress))
        try await listener.close()
        return peer
    }

    /// Close the edges' sockets as the kernel does when their process has died.
    func die() {
        self.loop.execute { for edge in self.edges { edge.close(promise: nil) } }
    }

    func destroy() {
        self.loop.execute {
            self.client.endpoint?.destroy(.reset)
            self.exit.endpoint?.destroy(.reset)
        }
    }

    /// Streams left on both ends, once nothing moves any more or there is none.
    func streamCountOnceSettled() async throws -> Int {
        var count = 0
        for _ in 0..<2000 {
            count = try await self.loop.submit {
                (self.client.endpoint?.streamCount ?? 0) + (self.exit.endpoint?.streamCount ?? 0)
            }.get()
            if count == 0 { break }
        }
        return count
    }
}

/// An application's or server's end of a connection.
private final class Peer: ChannelInboundHandler, @unchecked Sendable {
    // @unchecked: the handler's state is touched on the channel's loop alone; the channel is set before anybody else knows.
    typealias InboundIn = ByteBuffer
    private var bytes = ByteBuffer()
    private let ended: EventLoopPromise<ByteBuffer>
    private let loop: any EventLoop
    private var channel: (any Channel)?

    init(_ loop: any EventLoop) {
        self.loop = loop
        self.ended = loop.makePromise()
    }

    func connect(to address: SocketAddress) async throws {
        self.channel = try await ClientBootstrap(group: self.loop).channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(self) }
            }.connect(to: address).get()
    }

    func send(_ bytes: ByteBuffer, closing: Bool) {
        self.channel?.writeAndFlush(bytes, promise: nil)
        if closing { self.channel?.close(mode: .output, promise: nil) }
    }

    func reset() {
        let channel = self.channel
        self.loop.execute {
            _ = (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
            channel?.close(promise: nil)
        }
    }

    /// All that came, once the other end has closed.
    func received() async throws -> ByteBuffer {
        let timer = self.loop.scheduleTask(in: .seconds(20)) {
            self.ended.fail(ChannelError.connectTimeout(.seconds(20)))
        }
        defer { timer.cancel() }
        return try await self.ended.futureResult.get()
    }

    func close() async throws { try? await self.channel?.close() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.bytes.writeImmutableBuffer(self.unwrapInboundIn(data))
    }
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed = event as? ChannelEvent { self.ended.succeed(self.bytes) }
    }
    func channelInactive(context: ChannelHandlerContext) { self.ended.succeed(self.bytes) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.ended.fail(error)
        context.close(promise: nil)
    }
}
