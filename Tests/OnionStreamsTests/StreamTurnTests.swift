import NIOCore
import NIOEmbedded
import OnionCells
import Testing

@testable import OnionStreams

@Suite("Turns of streams")
struct StreamTurnTests {
    /// How many cells in a row are of one stream, from the first cell on its way on.
    private func runs(of cells: some Sequence<TestEnd.Cell>) throws -> [Int] {
        var runs: [Int] = []
        var latest: StreamID?
        for cell in cells {
            let id = try messages(in: cell.payload).first?.id
            if id == latest, let last = runs.popLast() { runs.append(last + 1) } else { runs.append(1) }
            latest = id
        }
        return runs
    }

    /// Connected was the first of a stream's cells.
    private static let cellsOfConnected = 1

    /// Open streams whose head start is used up, and which have said all that they had.
    private func openBusyStreams(_ count: Int, of circuit: TestCircuit) throws -> [TestSocket] {
        let sockets = try (0..<count).map { _ in try #require(circuit.openStream(exitSends: 500_000)).exit }
        for socket in sockets { socket.write(atMost: StreamTurns.headStartCellCount * 2048) }
        circuit.settle()
        return sockets
    }

    @Test("a stream fills many cells in its turn while a round of all streams is short")
    func short() throws {
        let circuit = try TestCircuit(window: 128, maximumWindow: 128)
        let sockets = try self.openBusyStreams(4, of: circuit)
        for socket in sockets { socket.write(atMost: 60_000) }
        circuit.loop.run()
        // 60 000 bytes are a little less than 30 cells; the cell at the border belongs to two streams.
        #expect(try self.runs(of: circuit.exit.outgoing).prefix(3).allSatisfy { (29...30).contains($0) })
    }

    @Test("a turn ends after 64 cells, and the next stream is served")
    func longest() throws {
        let circuit = try TestCircuit(window: 512, maximumWindow: 512)
        let sockets = try self.openBusyStreams(2, of: circuit)
        for socket in sockets { socket.write(atMost: 400_000) }
        circuit.loop.run()
        #expect(try self.runs(of: circuit.exit.outgoing).prefix(4) == [64, 64, 64, 64])
    }

    @Test("a turn goes on for eight cells more if nothing is left then", arguments: [(71, 71), (72, 72), (73, 64)])
    func remainder(cellCount: Int, run: Int) throws {
        let circuit = try TestCircuit(window: 512, maximumWindow: 512)
        let sockets = try self.openBusyStreams(2, of: circuit)
        // The last of these cells is not full, so that it may hold what comes next.
        let byteCount = cellCount * 2000
        for socket in sockets { socket.write(atMost: byteCount) }
        circuit.loop.run()
        #expect(try self.runs(of: circuit.exit.outgoing).first == run)
    }

    /// The streams in the order in which they had the cells that are on their way.
    private func order(of cells: some Sequence<TestEnd.Cell>) throws -> [StreamID] {
        try cells.compactMap { try messages(in: $0.payload).first?.id }
    }

    @Test(
        "one that was silent for 20 ms goes ahead of others",
        arguments: [
            (TimeAmount.milliseconds(19), false), (.milliseconds(20), true),
        ])
    func silence(_ silence: TimeAmount, isAhead: Bool) throws {
        let circuit = try TestCircuit(window: 512, maximumWindow: 512)
        let sockets = try self.openBusyStreams(2, of: circuit)
        // The first goes on to the last moment, the second says nothing more.
        circuit.advance(by: silence - .milliseconds(1))
        sockets[0].write(atMost: 2000)
        circuit.settle()
        circuit.advance(by: .milliseconds(1))
        sockets[0].write(atMost: 20_000)
        sockets[1].write(atMost: 100)
        circuit.loop.run()
        let id = try #require(sockets[isAhead ? 1 : 0].stream?.id)
        #expect(try self.order(of: circuit.exit.outgoing).first == id)
    }

    @Test("a new stream goes ahead of others for 16 cells")
    func headStart() throws {
        let circuit = try TestCircuit(window: 512, maximumWindow: 512)
        let old = try self.openBusyStreams(1, of: circuit)[0]
        let new = try #require(circuit.openStream(exitSends: 100_000)).exit
        old.write(atMost: 200_000)
        new.write(atMost: 100_000)
        circuit.loop.run()
        #expect(try self.runs(of: circuit.exit.outgoing).first == 16 - Self.cellsOfConnected)
        #expect(try self.order(of: circuit.exit.outgoing).first == new.stream?.id)
    }

    @Test("however many new streams there are, the others have every second cell")
    func noStarvation() throws {
        let circuit = try TestCircuit(window: 1024, maximumWindow: 1024)
        let old = try self.openBusyStreams(1, of: circuit)[0]
        let new = try (0..<20).map { _ in try #require(circuit.openStream(exitSends: 100_000)).exit }
        old.write(atMost: 200_000)
        for socket in new { socket.write(atMost: 100_000) }
        circuit.loop.run()
        let order = try self.order(of: circuit.exit.outgoing)
        let first = try #require(order.firstIndex { $0 == old.stream?.id })
        #expect(first <= 32)
        #expect(order[first..<(first + 80)].count { $0 == old.stream?.id } == 40)
    }

    @Test("streams begin in the order in which they were opened, however short their turns")
    func openings() throws {
        let circuit = try TestCircuit(window: 64, maximumWindow: 64)
        let socket = try #require(circuit.openStream(clientSends: 200_000)).client
        socket.write(atMost: 100_000)
        circuit.loop.run()
        circuit.advance(by: .seconds(1))
        circuit.settle()
        #expect(circuit.clientEndpoint.smoothedRTT == .seconds(1))
        let streams = (0..<40).compactMap { _ in circuit.clientEndpoint.open(.begin, data: TestCircuit.begin) }
        circuit.settle()
        #expect(circuit.exit.opened.dropFirst().map(\.stream.id) == streams.map(\.id))
    }

    @Test("on a long path a round of all streams takes no more than half of a round trip")
    func long() throws {
        let circuit = try TestCircuit(window: 1024, maximumWindow: 1024)
        let sockets = try (0..<16).map { _ in try #require(circuit.openStream(exitSends: 400_000)).exit }
        // One SendMe says how long the path is.
        sockets[0].write(atMost: 100_000)
        circuit.loop.run()
        circuit.advance(by: .seconds(1))
        circuit.settle()
        #expect(circuit.exitEndpoint.smoothedRTT == .seconds(1))
        for socket in sockets { socket.write(atMost: 300_000) }
        circuit.loop.run()
        // Half of the window, shared by 16, once the head starts are used up.
        let share = circuit.exitEndpoint.congestionWindow / 2 / 16
        let runs = try self.runs(of: circuit.exit.outgoing)
        #expect((17..<64).contains(share))
        #expect(runs.suffix(6).dropLast() == [share, share, share, share, share])
    }
}
