import NIOCore
import NIOEmbedded
import OnionCells
import OnionCircuits
import OnionCrypto
import TestSupport
import Testing

@testable import OnionStreams

@Suite("Circuit endpoint")
struct CircuitEndpointTests {
    @Test("Begin and the first Data share a cell")
    func beginAndData() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        stream.send(Pattern.buffer(from: 0, count: 100))
        circuit.loop.run()
        #expect(circuit.client.outgoing.count == 1)
        let found = try messages(in: try #require(circuit.client.outgoing.first).payload)
        #expect(found.map(\.command) == [.begin, .data])
        #expect(found.last?.byteCount == 100)
    }

    @Test("Connected, Data and End come back in one cell, and are all delivered")
    func connectedDataEnd() throws {
        let circuit = try TestCircuit()
        let opener = TestOpener()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        stream.opener = opener
        circuit.settle()
        let opened = try #require(circuit.exit.opened.first?.stream)
        #expect(opened.connected(TestCircuit.connected))
        let exit = TestSocket("exit", sending: 500)
        exit.attach(to: opened)
        exit.write(atMost: 500)
        circuit.loop.run()
        #expect(circuit.exit.outgoing.count == 1)
        let found = try messages(in: try #require(circuit.exit.outgoing.first).payload)
        #expect(found.map(\.command) == [.connected, .data, .end])
        // The client's socket is there only after all of it has come.
        circuit.settle()
        #expect(opener.connected == [TestCircuit.connected])
        let client = TestSocket("client")
        client.attach(to: stream)
        #expect(client.receivedCount == 500 && client.isIntact && client.finishedCount == 1 && client.endings.isEmpty)
        client.write(atMost: 1)
        circuit.settle()
        // Nobody waits for the client's End.
        circuit.advance(by: .milliseconds(4))
        #expect(circuit.client.outgoing.isEmpty)
        circuit.advance(by: .milliseconds(1))
        circuit.settle()
        #expect(client.endings == [.finished] && exit.endings == [.finished])
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
    }

    @Test("a client's last End goes with what else there is to say, and an exit's at once")
    func lastEnd() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        exit.write(atMost: 0)
        circuit.settle()
        client.write(atMost: 0)
        circuit.loop.run()
        #expect(circuit.client.outgoing.isEmpty)
        _ = circuit.clientEndpoint.open(.begin, data: TestCircuit.begin)
        circuit.loop.run()
        let found = try messages(in: try #require(circuit.client.outgoing.first).payload)
        #expect(found.map(\.command) == [.end, .begin])
        circuit.settle()

        let (other, its) = try #require(circuit.openStream())
        other.write(atMost: 0)
        circuit.settle()
        its.write(atMost: 0)
        circuit.loop.run()
        #expect(try messages(in: try #require(circuit.exit.outgoing.first).payload).map(\.command) == [.end])
    }

    @Test("what came before an orderly end is delivered to a socket that comes after it")
    func attachAfterEnd() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        stream.finish()
        circuit.settle()
        let opened = try #require(circuit.exit.opened.first?.stream)
        #expect(opened.connected(TestCircuit.connected))
        let exit = TestSocket("exit", sending: 100)
        exit.attach(to: opened)
        #expect(exit.finishedCount == 1)
        exit.write(atMost: 100)
        circuit.settle()
        #expect(circuit.clientEndpoint.streamCount == 0)
        let client = TestSocket("client")
        client.attach(to: stream)
        #expect(client.receivedCount == 100 && client.finishedCount == 1 && client.endings == [.finished])
    }

    @Test("at most eight openings go into a cell, in order", arguments: [RelayCommand.begin, .resolve])
    func openingsPerCell(command: RelayCommand) throws {
        let circuit = try TestCircuit()
        let streams = (0..<20).compactMap { _ in circuit.clientEndpoint.open(command, data: TestCircuit.begin) }
        circuit.loop.run()
        let cells = try circuit.client.outgoing.map { try messages(in: $0.payload) }
        #expect(cells.map(\.count) == [8, 8, 4])
        circuit.settle()
        #expect(circuit.exit.opened.map(\.stream.id) == streams.map(\.id))
        #expect(circuit.exit.failures.isEmpty)
    }

    @Test("a Begin that fills a cell to the last byte goes into it, and a longer one into the next", arguments: [0, 1])
    func beginFillsCell(extra: Int) throws {
        func begin(hostByteCount: Int) -> ByteBuffer {
            var data = ByteBuffer()
            Begin(target: .host(String(repeating: "a", count: hostByteCount), port: 80)).write(to: &data)
            return data
        }
        let circuit = try TestCircuit()
        let longest = begin(hostByteCount: Begin.maximumHostByteCount)
        for _ in 0..<7 { _ = circuit.clientEndpoint.open(.begin, data: longest) }
        let left = Cell.payloadByteCount - 7 * (Self.headerByteCount + longest.readableBytes) - Self.headerByteCount
        let hostByteCount = left - begin(hostByteCount: 0).readableBytes
        _ = circuit.clientEndpoint.open(.begin, data: begin(hostByteCount: hostByteCount + extra))
        circuit.loop.run()
        #expect(try circuit.client.outgoing.map { try messages(in: $0.payload).count } == (extra == 0 ? [8] : [7, 1]))
    }

    @Test(
        "Data and End fill a cell to the last byte, and an End that does not fit goes into the next", arguments: [0, 1])
    func endFillsCell(extra: Int) throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.openStream()?.client.stream)
        stream.send(Pattern.buffer(from: 0, count: Cell.payloadByteCount - 2 * Self.headerByteCount - 1 + extra))
        stream.finish()
        circuit.loop.run()
        #expect(try circuit.client.outgoing.map { try messages(in: $0.payload).count } == (extra == 0 ? [2] : [1, 1]))
    }

    @Test("where only a header would fit, no empty Data goes", arguments: [0, 1])
    func noEmptyData(left: Int) throws {
        let circuit = try TestCircuit()
        let streams = try (0..<2).map { _ in try #require(circuit.openStream()?.client.stream) }
        streams[0].send(Pattern.buffer(from: 0, count: Cell.payloadByteCount - 2 * Self.headerByteCount - left))
        streams[1].send(Pattern.buffer(from: 0, count: 1))
        circuit.loop.run()
        #expect(try circuit.client.outgoing.map { try messages(in: $0.payload).count } == (left == 0 ? [1, 1] : [2]))
    }

    @Test("flow control fills a cell to the last byte, and what does not fit goes into the next", arguments: [0, 1])
    func flowControlFillsCell(extra: Int) throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.openStream()?.exit.stream)
        // An XOff is a header, an XOn four bytes more.
        let header = Self.headerByteCount
        let xOnCount = try #require((0..<header).first { (Cell.payloadByteCount - $0 * (header + 4)) % header == 0 })
        let xOffCount = (Cell.payloadByteCount - xOnCount * (header + 4)) / header
        for _ in 0..<xOnCount { circuit.exitEndpoint.sendUrgent(.xOn, ByteBuffer(integer: 1 as UInt32), on: stream) }
        for _ in 0..<xOffCount + extra { circuit.exitEndpoint.sendUrgent(.xOff, ByteBuffer(), on: stream) }
        circuit.loop.run()
        let counts = try circuit.exit.outgoing.map { try messages(in: $0.payload).count }
        #expect(counts == [xOnCount + xOffCount] + (extra == 0 ? [] : [extra]))
    }

    private static let headerByteCount = RelayMessageHeader.byteCount

    @Test("nine openings in one cell destroy the circuit, eight do not", arguments: [8, 9])
    func tooManyOpenings(count: Int) throws {
        let circuit = try TestCircuit()
        let data = Array(buffer: TestCircuit.begin)
        circuit.forgeForward((1...count).map { (.begin, StreamID(rawValue: UInt16($0)), data) })
        #expect(circuit.exit.failures == (count == 8 ? [] : [.messageNotAllowed(.begin)]))
    }

    @Test("a cell without any message destroys the circuit; padding does not", arguments: [true, false])
    func emptyCell(isForward: Bool) throws {
        let circuit = try TestCircuit()
        let forge = isForward ? circuit.forgeForward : circuit.forgeBackward
        let tag = CellTag(high: 9, low: 9)
        forge([(.drop, .circuit, [])], tag)
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty)
        forge([], tag)
        #expect((isForward ? circuit.exit : circuit.client).failures == [.messageNotAllowed(.drop)])
    }

    @Test("streams that are over wait for cells up to a limit, and one more Begin destroys the circuit")
    func waitingStreams() throws {
        let circuit = try TestCircuit(waitingStreamCount: 10)
        circuit.exit.backlogLimit = 0
        circuit.exit.onOpened = { (stream) throws(CircuitError) in stream.end(.resourceLimit) }
        let data = Array(buffer: TestCircuit.begin)
        for number in 1...10 as ClosedRange<UInt16> {
            circuit.forgeForward([(.begin, StreamID(rawValue: number), data)])
        }
        circuit.loop.run()
        #expect(circuit.exit.failures.isEmpty && circuit.exit.opened.count == 10)
        // Those that have said it make room.
        circuit.exit.backlogLimit = 1
        circuit.exitEndpoint.roomAvailable()
        circuit.exit.backlogLimit = 0
        for number in 11...20 as ClosedRange<UInt16> {
            circuit.forgeForward([(.begin, StreamID(rawValue: number), data)])
        }
        #expect(circuit.exit.failures.isEmpty && circuit.exitEndpoint.streamCount == 0)
        circuit.forgeForward([(.begin, StreamID(rawValue: 21), data)])
        #expect(circuit.exit.failures == [.resourceLimit] && circuit.exit.opened.count == 20)
    }

    @Test("an exit may have had so many XOffs under way on a stream that is over, and no more")
    func lateFlowControl() throws {
        let circuit = try TestCircuit()
        let id = try #require(circuit.openStream()?.client.stream?.id)
        circuit.forgeBackward([(.end, id, [EndReason.reset.rawValue])])
        for _ in 0..<128 { circuit.forgeBackward([(.xOff, id, [])]) }
        #expect(circuit.client.failures.isEmpty)
        circuit.forgeBackward([(.xOff, id, [])])
        #expect(circuit.client.failures == [.xOffStorm])
    }

    @Test("Data that goes on after all that was in flight destroys the circuit, from when our End has left")
    func lateData() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.openStream()?.client.stream)
        circuit.client.backlogLimit = 0
        stream.end(.reset)
        func forge(_ count: Int) {
            for _ in 0..<count {
                circuit.forgeBackward([(.data, stream.id, [1])])
                circuit.client.outgoing.removeAll()
            }
        }
        // It cannot know yet.
        forge(2 * 16_384 + 40)
        #expect(circuit.client.failures.isEmpty)
        circuit.client.backlogLimit = .max
        circuit.clientEndpoint.roomAvailable()
        forge(2 * 16_384)
        #expect(circuit.client.failures.isEmpty)
        forge(1)
        #expect(circuit.client.failures == [.messageAfterEnd(.data)])
    }

    @Test("a Finished and a reset may both cross our End, and no third")
    func lateEnds() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.openStream()?.client.stream)
        stream.end(.reset)
        for reason in [EndReason.finished, .reset] { circuit.forgeBackward([(.end, stream.id, [reason.rawValue])]) }
        #expect(circuit.client.failures.isEmpty)
        circuit.forgeBackward([(.end, stream.id, [EndReason.reset.rawValue])])
        #expect(circuit.client.failures == [.messageAfterEnd(.end)])
    }

    @Test("a stream id serves once")
    func streamIDReuse() throws {
        let circuit = try TestCircuit()
        let id = StreamID(rawValue: 5)
        let data = Array(buffer: TestCircuit.begin)
        circuit.forgeForward([(.begin, id, data), (.end, id, [EndReason.reset.rawValue])])
        #expect(circuit.exit.failures.isEmpty && circuit.exitEndpoint.streamCount == 0)
        circuit.forgeForward([(.begin, id, data)])
        #expect(circuit.exit.failures == [.streamIDReused(id)])
    }

    @Test("what the client may not say destroys the circuit at the exit")
    func clientMayNotSay() throws {
        for command in RelayCommand.allCases where command.isBackwardOnly {
            let circuit = try TestCircuit()
            circuit.forgeForward([(command, StreamID(rawValue: command.isAboutCircuit ? 0 : 1), [])])
            #expect(circuit.exit.failures == [.messageNotAllowed(command)])
        }
    }

    @Test("what the exit may not say destroys the circuit at the client")
    func exitMayNotSay() throws {
        for command in RelayCommand.allCases where command.isForwardOnly || command == .extended {
            let circuit = try TestCircuit()
            circuit.forgeBackward([(command, StreamID(rawValue: command.isAboutCircuit ? 0 : 1), [])])
            #expect(circuit.client.failures == [.messageNotAllowed(command)])
        }
    }

    @Test(
        "messages for a stream that never was destroy the circuit",
        arguments: [RelayCommand.data, .end, .xOff, .connected])
    func unknownStream(command: RelayCommand) throws {
        let circuit = try TestCircuit()
        circuit.forgeBackward([(command, StreamID(rawValue: 3), [1])])
        #expect(circuit.client.failures == [.streamUnknown(StreamID(rawValue: 3))])
    }

    @Test("random bytes never trap, and end the circuit at most once", arguments: 0..<200)
    func randomCells(seed: UInt64) throws {
        let circuit = try TestCircuit()
        var random = SplitMix64(seed)
        _ = circuit.openStream()
        for _ in 0..<20 {
            var payload = (0..<Cell.payloadByteCount).map { _ in UInt8.random(in: 0...255, using: &random) }
            payload[0] = UInt8.random(in: 0...14, using: &random)
            payload[1] = 0
            payload[2] = UInt8.random(in: 0...2, using: &random)
            payload[3] = 0
            payload[4] = UInt8.random(in: 0...40, using: &random)
            let tag = CellTag(high: random.next(), low: 1)
            if Bool.random(using: &random) {
                circuit.exitEndpoint.cellReceived(payload: payload.span.bytes, tag: tag)
            } else {
                circuit.clientEndpoint.cellReceived(payload: payload.span.bytes, tag: tag)
            }
            circuit.loop.run()
        }
        #expect(circuit.client.failures.count <= 1 && circuit.exit.failures.count <= 1)
    }

    @Test("a circuit that is destroyed ends all its streams, and says nothing more")
    func destroyInTheMiddle() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(clientSends: 100_000, exitSends: 100_000))
        client.write(atMost: 50_000)
        exit.write(atMost: 50_000)
        circuit.loop.run()
        let cellCount = circuit.exit.cellCount
        circuit.exitEndpoint.destroy(.unspecified)
        exit.write(atMost: 1000)
        circuit.loop.run()
        #expect(exit.endings == [.unspecified])
        #expect(circuit.exitEndpoint.streamCount == 0 && circuit.exit.cellCount == cellCount)
        circuit.forgeForward([(.begin, StreamID(rawValue: 99), Array(buffer: TestCircuit.begin))])
        circuit.exitEndpoint.destroy(.reset)
        #expect(exit.endings == [.unspecified] && circuit.exit.opened.count == 1)
        circuit.clientEndpoint.destroy(.reset)
        #expect(client.endings == [.reset])
        // Neither may be used any more.
        #expect(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin) == nil)
        #expect(client.stream?.hasRoom == false || circuit.clientEndpoint.streamCount == 0)
    }

    @Test(
        "what follows in a cell that ends its circuit is not looked at, and nothing is said of it",
        arguments: [false, true])
    func destroyWithinCell(fails: Bool) throws {
        let circuit = try TestCircuit()
        circuit.exit.onOpened = { (_) throws(CircuitError) in
            circuit.exitEndpoint.destroy(.unspecified)
            if fails { throw .sendMeNotDue }
        }
        let data = Array(buffer: TestCircuit.begin)
        circuit.forgeForward((1...2).map { (.begin, StreamID(rawValue: $0), data) })
        #expect(circuit.exit.opened.count == 1 && circuit.exit.failures.isEmpty)
        #expect(circuit.exitEndpoint.streamCount == 0)
    }

    @Test("a stream that ends while its circuit is destroyed ends once, with the reason that came first")
    func endWithinDestroy() throws {
        let circuit = try TestCircuit()
        let (first, _) = try #require(circuit.openStream())
        let second = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        first.onEnded = { second.end(.reset) }
        circuit.clientEndpoint.destroy(.unspecified)
        #expect(first.endings == [.unspecified] && circuit.client.closed.isEmpty)
        let late = TestSocket("late")
        late.attach(to: second)
        #expect(late.endings == [.reset])
    }

    @Test("a connection that stands after its circuit has gone is to be closed")
    func connectedAfterDestroy() throws {
        let circuit = try TestCircuit()
        _ = circuit.clientEndpoint.open(.begin, data: TestCircuit.begin)
        circuit.settle()
        let opened = try #require(circuit.exit.opened.first?.stream)
        circuit.exitEndpoint.destroy(.unspecified)
        #expect(!opened.connected(TestCircuit.connected))
    }

    @Test("owner and link are left alone while a cell is made")
    func noCallsWithinCell() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(clientSends: 10_000, exitSends: 10_000))
        while !client.hasFinished || !exit.hasFinished {
            client.write(atMost: 3000)
            exit.write(atMost: 3000)
            circuit.settle()
        }
        #expect(client.endings == [.finished] && exit.endings == [.finished])
        #expect(!circuit.client.wasCalledWithinCell && !circuit.exit.wasCalledWithinCell)
    }

    @Test("a stream that is over and holds nothing is let go of while its circuit lives")
    func streamIsLetGo() throws {
        let circuit = try TestCircuit()
        weak var stream: OnionStream?
        do {
            let (client, exit) = try #require(circuit.openStream(clientSends: 9000))
            stream = client.stream
            client.write(atMost: 9000)
            exit.write(atMost: 1)
            circuit.settle()
            #expect(client.endings == [.finished])
        }
        #expect(stream == nil)
    }

    @Test("the owner hears of bytes once a turn, when enough have been gained and lost")
    func report() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.openStream()?.client.stream)
        circuit.client.backlogLimit = 0
        for (byteCounts, reportCount) in [([65_535], 0), ([1], 1), ([1, 1], 2)] {
            for count in byteCounts { stream.send(Pattern.buffer(from: 0, count: count)) }
            circuit.loop.run()
            #expect(circuit.client.reportCount == reportCount)
        }
    }

    @Test("neither endpoint nor streams outlive their circuit")
    func nothingLeaks() throws {
        weak var endpoint: CircuitEndpoint?
        weak var stream: OnionStream?
        weak var socket: TestSocket?
        do {
            let circuit = try TestCircuit()
            let (client, _) = try #require(circuit.openStream(clientSends: 10_000))
            client.write(atMost: 10_000)
            circuit.settle()
            endpoint = circuit.clientEndpoint
            stream = client.stream
            socket = client
            circuit.clientEndpoint.destroy(.reset)
            circuit.exitEndpoint.destroy(.reset)
            client.stream = nil
            circuit.loop.run()
        }
        #expect(endpoint == nil && stream == nil && socket == nil)
    }
}
