import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionStreams
import Testing

@testable import ProxyFrontend

/// The handler that forwards in front of a stream's own, with a circuit behind it.
@Suite("HTTP forwarding, and its stream")
struct HTTPForwardStreamTests {
    /// A client's end of a circuit; what it sends goes nowhere, and the far end's messages are the test's.
    private final class Circuit: CircuitEndpointOwner {
        let loop = EmbeddedEventLoop()
        private(set) var endpoint: CircuitEndpoint?
        private(set) var failures: [CircuitError] = []
        private var cellCount: UInt64 = 0

        init() throws {
            self.endpoint = CircuitEndpoint(
                role: .client, eventLoop: self.loop,
                congestion: try CongestionParameters(initialWindow: 256, minimumWindow: 32, maximumWindow: 4096),
                limits: StreamLimits(
                    gate: .init(high: 1 << 20, low: 1 << 18, inFlight: 1 << 23), halfClosedIdle: .seconds(60)),
                padding: PaddingSourceBox(), owner: self)
        }

        func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool { true }
        func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag {
            var payload = [UInt8](repeating: 0, count: Cell.payloadByteCount)
            var bytes = payload.mutableSpan
            var span = bytes.mutableBytes
            fill(&span)
            self.cellCount += 1
            return CellTag(high: self.cellCount, low: 1)
        }
        func endpoint(
            _ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer
        ) {}
        func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason) {}
        func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError) { self.failures.append(error) }
        func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream) {}

        /// Have the far end say something, and let the loop do what follows.
        func receive(_ command: RelayCommand, _ data: ByteBuffer, on stream: OnionStream) {
            var payload = [UInt8](repeating: 0, count: Cell.payloadByteCount)
            var writer = RelayMessageWriter(leavesUnguessableTail: false)
            do {
                var bytes = payload.mutableSpan
                var span = bytes.mutableBytes
                writer.append(command, streamID: stream.id, data: data.readableBytesSpan, into: &span)
                _ = writer.finish(&span)
            }
            self.endpoint?.cellReceived(payload: payload.span.bytes, tag: CellTag(high: 9, low: 9))
            self.loop.run()
        }
    }

    /// A stream that is open, on a channel with the handler in front of its edge.
    private func open(_ circuit: Circuit) throws -> (OnionStream, EmbeddedChannel) {
        var begin = ByteBuffer()
        Begin(target: .host("a.test", port: 80)).write(to: &begin)
        let stream = try #require(circuit.endpoint?.open(.begin, data: begin))
        circuit.loop.run()
        var connected = ByteBuffer()
        Connected(address: .v4(1), ttlSeconds: 60).write(to: &connected)
        circuit.receive(.connected, connected, on: stream)
        let channel = EmbeddedChannel(loop: circuit.loop)
        try channel.pipeline.syncOperations.addHandlers([HTTPForwardHandler(), StreamEdge(stream: stream)])
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        circuit.loop.run()
        return (stream, channel)
    }

    private func sent(_ channel: EmbeddedChannel) throws -> String {
        var text = ""
        while let part = try channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: part) }
        return text
    }

    @Test("an answer whose head comes in several turns goes on as soon as it is whole")
    func head() throws {
        let circuit = try Circuit()
        let (stream, channel) = try self.open(circuit)
        for part in ["HTTP/1.1 200 OK\r\n", "A: b\r\n", "\r\ndata: 1\n\n"] {
            #expect(try self.sent(channel) == "")
            circuit.receive(.data, ByteBuffer(string: part), on: stream)
        }
        #expect(try self.sent(channel) == "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\ndata: 1\n\n")
        circuit.receive(.data, ByteBuffer(string: "data: 2\n\n"), on: stream)
        #expect(try self.sent(channel) == "data: 2\n\n")
        #expect(circuit.endpoint?.queuedByteCount == 0 && circuit.failures.isEmpty)
        _ = try channel.finish()
    }

    @Test("an answer that ends in its head arrives as far as it came, before the end")
    func cutOff() throws {
        let circuit = try Circuit()
        let (stream, channel) = try self.open(circuit)
        circuit.receive(.data, ByteBuffer(string: "HTTP/1.1 200"), on: stream)
        circuit.receive(.data, ByteBuffer(string: " OK\r\n"), on: stream)
        #expect(try self.sent(channel) == "")
        circuit.receive(.end, ByteBuffer(integer: EndReason.finished.rawValue), on: stream)
        #expect(try self.sent(channel) == "HTTP/1.1 200 OK\r\n")
        #expect(circuit.failures.isEmpty)
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
