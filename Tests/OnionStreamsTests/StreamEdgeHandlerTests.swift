import NIOCore
import NIOEmbedded
import OnionCells
import OnionCircuits
import Testing

@testable import OnionStreams

/// The edge alone, on a channel that does what the test says.
@Suite("Stream edge")
struct StreamEdgeHandlerTests {
    @Test(
        "the kernel holds for a socket its share of what is held for a circuit, within bounds",
        arguments: [(0, 512), (1, 512), (8, 512), (9, 455), (16, 256), (64, 64), (65, 64), (10_000, 64)])
    func receiveBuffer(streamCount: Int, kibibytes: Int) {
        #expect(StreamEdge.receiveBufferByteCount(streamCount: streamCount) / 1024 == kibibytes)
    }

    @Test("a connection that is lost before it was any use resets its stream")
    func lostBeforeActive() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        circuit.settle()
        let exit = try self.connect(circuit)
        let channel = EmbeddedChannel(loop: circuit.loop)
        try channel.pipeline.syncOperations.addHandlers([NeverActive(), StreamEdge(stream: stream)])
        channel.close(promise: nil)
        circuit.settle()
        #expect(exit.endings == [.reset])
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
    }

    @Test("with its input closed and its last bytes paused, a socket is closed behind what it has still to take, once")
    func closedBehindWrites() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        let (channel, socket) = try self.makeChannel(circuit, stream)
        circuit.settle()
        let exit = try self.connect(circuit, sending: 100)
        circuit.forgeBackward([(.xOff, stream.id, [])])
        try channel.writeInbound(Pattern.buffer(from: 0, count: 3000))
        channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        exit.write(atMost: 100)
        circuit.settle()
        // The 100 bytes, and what is to close the socket behind them.
        #expect(channel.isActive && socket.held.count == 2)
        circuit.forgeBackward([(.xOn, stream.id, [0, 0, 0, 1])])
        circuit.settle()
        #expect(exit.receivedCount == 3000 && exit.isIntact && exit.endings == [.finished])
        #expect(channel.isActive && socket.held.count == 2)
        socket.release()
        #expect(!channel.isActive)
        circuit.settle()
        _ = try channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a socket whose stream was over before is closed behind what it has still to take")
    func attachedLate() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        stream.finish()
        circuit.settle()
        try self.connect(circuit, sending: 100).write(atMost: 100)
        circuit.settle()
        #expect(circuit.clientEndpoint.streamCount == 0)
        let (channel, socket) = try self.makeChannel(circuit, stream)
        circuit.loop.run()
        #expect(channel.isActive && socket.held.count == 2)
        socket.release()
        #expect(!channel.isActive)
        _ = try channel.finish(acceptAlreadyClosed: true)
    }

    @Test("bytes that come one by one for a socket that takes none cost what they are, and arrive before the end")
    func oneByOne() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        let (channel, socket) = try self.makeChannel(circuit, stream)
        let edge = try channel.pipeline.syncOperations.handler(type: StreamEdge.self)
        circuit.settle()
        let byteCount = 10_000
        let exit = try self.connect(circuit, sending: 2 * byteCount + 1)
        var largestExcess = 0
        for _ in 0..<byteCount {
            exit.write(atMost: 1)
            circuit.settle()
            largestExcess = max(largestExcess, edge.incoming.capacity - 4 * edge.incoming.readableBytes)
        }
        #expect(socket.held.count == 1 && socket.bytes.readableBytes == 1)
        #expect(edge.incoming.readableBytes == byteCount - 1 && circuit.clientEndpoint.queuedByteCount == byteCount)
        #expect(largestExcess <= 0)
        socket.release()
        // What waited is one write now, without another turn.
        #expect(socket.held.count == 1 && socket.bytes == Pattern.buffer(from: 0, count: byteCount))
        #expect(edge.incoming.capacity == 0 && circuit.clientEndpoint.queuedByteCount == byteCount - 1)
        exit.write(atMost: byteCount)
        circuit.settle()
        #expect(socket.held.count == 1 && socket.closedOutputCount == 0)
        exit.write(atMost: 1)
        circuit.settle()
        #expect(socket.bytesBeforeClose == Pattern.buffer(from: 0, count: 2 * byteCount + 1))
        while !socket.held.isEmpty { socket.release() }
        #expect(socket.closedOutputCount == 1 && circuit.clientEndpoint.queuedByteCount == 0)
        _ = try channel.finish()
    }

    @Test("behind a write that is under way a full one is written, and less waits for its end")
    func fullWrites() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        let (channel, socket) = try self.makeChannel(circuit, stream)
        circuit.settle()
        let exit = try self.connect(circuit, sending: 100_000)
        exit.write(atMost: 1)
        circuit.settle()
        exit.write(atMost: StreamEdge.fullWriteByteCount - 1)
        circuit.settle()
        #expect(socket.held.count == 1)
        exit.write(atMost: 1)
        circuit.settle()
        #expect(socket.held.count == 2 && socket.bytes.readableBytes == 1 + StreamEdge.fullWriteByteCount)
        exit.write(atMost: 100)
        circuit.settle()
        #expect(socket.held.count == 2)
        socket.release()
        #expect(socket.held.count == 1 && socket.bytes == Pattern.buffer(from: 0, count: exit.sentCount))
        socket.release()
        #expect(circuit.clientEndpoint.queuedByteCount == 0)
        _ = try channel.finish()
    }

    @Test("a reset does not wait for what a socket has still to take")
    func resetWithBytesWaiting() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        let (channel, socket) = try self.makeChannel(circuit, stream)
        let edge = try channel.pipeline.syncOperations.handler(type: StreamEdge.self)
        circuit.settle()
        let exit = try self.connect(circuit, sending: 100)
        for _ in 0..<2 {
            exit.write(atMost: 10)
            circuit.settle()
        }
        #expect(edge.incoming.readableBytes == 10)
        exit.stream?.end(.reset)
        circuit.settle()
        #expect(!channel.isActive && edge.incoming.capacity == 0)
        #expect(socket.bytes.readableBytes == 10 && circuit.clientEndpoint.queuedByteCount == 0)
        for promise in socket.held { promise.fail(ChannelError.ioOnClosedChannel) }
        _ = try channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a Finished without bytes before it writes none")
    func emptyFinish() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        let (channel, socket) = try self.makeChannel(circuit, stream)
        circuit.settle()
        try self.connect(circuit).write(atMost: 1)
        circuit.settle()
        #expect(channel.isActive && socket.held.isEmpty && socket.closedOutputCount == 1)
        _ = try channel.finish()
    }

    @Test("a socket is read again while there is room, one read at a time")
    func reads() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        let (channel, socket) = try self.makeChannel(circuit, stream)
        circuit.settle()
        _ = try self.connect(circuit)
        #expect(socket.readCount == 1)
        circuit.client.backlogLimit = 0
        try channel.writeInbound(Pattern.buffer(from: 0, count: 100))
        #expect(socket.readCount == 2)
        // The outbox is emptied, but a read is under way.
        circuit.client.backlogLimit = .max
        circuit.settle()
        #expect(socket.readCount == 2)
        circuit.client.backlogLimit = 0
        try channel.writeInbound(Pattern.buffer(from: 100, count: StreamLimits.outboxByteCount))
        #expect(socket.readCount == 2)
        circuit.client.backlogLimit = .max
        circuit.settle()
        #expect(socket.readCount == 3)
        _ = try channel.finish()
    }

    @Test("a channel for a stream is read by need, one piece at a time, and may be half-closed")
    func options() throws {
        let channel = EmbeddedChannel()
        try StreamEdge.configure(channel)
        func value<Option: ChannelOption>(_: Option.Type) -> Option.Value? {
            channel.options.first { $0.option is Option }?.value as? Option.Value
        }
        #expect(value(ChannelOptions.Types.AutoReadOption.self) == false)
        #expect(value(ChannelOptions.Types.AllowRemoteHalfClosureOption.self) == true)
        #expect(value(ChannelOptions.Types.MaxMessagesPerReadOption.self) == 1)
        let allocator = value(ChannelOptions.Types.RecvAllocatorOption.self) as? AdaptiveRecvByteBufferAllocator
        #expect(allocator?.maximum == StreamEdge.readByteCount)
        _ = try channel.finish()
    }

    @Test("bytes for a socket that is not there count as taken")
    func noSocket() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        circuit.settle()
        let exit = try self.connect(circuit, sending: 100)
        circuit.settle()
        let edge = StreamEdge(stream: stream)
        stream.attach(edge)
        exit.write(atMost: 100)
        circuit.settle()
        #expect(circuit.clientEndpoint.queuedByteCount == 0 && circuit.client.failures.isEmpty)
    }

    /// Give the stream an edge on a channel that is active.
    private func makeChannel(_ circuit: TestCircuit, _ stream: OnionStream) throws -> (EmbeddedChannel, HeldSocket) {
        let channel = EmbeddedChannel(loop: circuit.loop)
        let socket = HeldSocket()
        try channel.pipeline.syncOperations.addHandlers([socket, StreamEdge(stream: stream)])
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return (channel, socket)
    }

    /// Let the exit connect the stream that came last.
    private func connect(_ circuit: TestCircuit, sending byteCount: Int = 0) throws -> TestSocket {
        let opened = try #require(circuit.exit.opened.last?.stream)
        #expect(opened.connected(TestCircuit.connected))
        let exit = TestSocket("exit", sending: byteCount)
        exit.attach(to: opened)
        circuit.settle()
        return exit
    }
}

/// A socket that takes no bytes until it is told to, and gives what the test says.
private final class HeldSocket: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    private(set) var held: [EventLoopPromise<Void>] = []
    private(set) var bytes = ByteBuffer()
    /// What was written when the output was closed.
    private(set) var bytesBeforeClose = ByteBuffer()
    private(set) var readCount = 0

    private(set) var closedOutputCount = 0

    func read(context: ChannelHandlerContext) { self.readCount += 1 }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard case .output = mode else { return context.close(mode: mode, promise: promise) }
        self.closedOutputCount += 1
        self.bytesBeforeClose = self.bytes
        promise?.succeed()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        self.bytes.writeImmutableBuffer(self.unwrapOutboundIn(data))
        if let promise { self.held.append(promise) }
    }

    func release() {
        let held = self.held
        self.held = []
        for promise in held { promise.succeed() }
    }
}

/// An EmbeddedChannel says that it is no longer active even where it never was.
private final class NeverActive: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelInactive(context: ChannelHandlerContext) {}
}
