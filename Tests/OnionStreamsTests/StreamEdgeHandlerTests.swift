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

    @Test("where many streams share a circuit, each reads less at once", arguments: [(16, 128), (17, 64)])
    func readSize(streamCount: Int, kibibytes: Int) throws {
        let circuit = try TestCircuit()
        let streams = try (0..<streamCount).map { _ in
            try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        }
        let channel = EmbeddedChannel(loop: circuit.loop)
        try StreamEdge.configure(channel)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(StreamEdge(stream: streams[0]))
        let value = channel.options.first { $0.option is ChannelOptions.Types.RecvAllocatorOption }?.value
        #expect((value as? AdaptiveRecvByteBufferAllocator)?.maximum == kibibytes * 1024)
        _ = try channel.finish()
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
        let channel = EmbeddedChannel(loop: circuit.loop)
        let writes = HeldWrites()
        try channel.pipeline.syncOperations.addHandlers([writes, StreamEdge(stream: stream)])
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        circuit.settle()
        let exit = try self.connect(circuit, sending: 100)
        circuit.forgeBackward([(.xOff, stream.id, [])])
        try channel.writeInbound(Pattern.buffer(from: 0, count: 3000))
        channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        exit.write(atMost: 100)
        circuit.settle()
        // The 100 bytes, and what is to close the socket behind them.
        #expect(channel.isActive && writes.held.count == 2)
        circuit.forgeBackward([(.xOn, stream.id, [0, 0, 0, 1])])
        circuit.settle()
        #expect(exit.receivedCount == 3000 && exit.isIntact && exit.endings == [.finished])
        #expect(channel.isActive && writes.held.count == 2)
        writes.release()
        #expect(!channel.isActive)
        circuit.settle()
        _ = try channel.finish(acceptAlreadyClosed: true)
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

/// A socket that takes no bytes until it is told to.
private final class HeldWrites: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    private(set) var held: [EventLoopPromise<Void>] = []

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
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
