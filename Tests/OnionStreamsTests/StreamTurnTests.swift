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

    @Test("a stream fills many cells in its turn while a round of all streams is short")
    func short() throws {
        let circuit = try TestCircuit(window: 128, maximumWindow: 128)
        let sockets = try (0..<4).map { _ in try #require(circuit.openStream(exitSends: 60_000)).exit }
        for socket in sockets { socket.write(atMost: 60_000) }
        circuit.loop.run()
        // 60 000 bytes are a little less than 30 cells; the cell at the border belongs to two streams.
        #expect(try self.runs(of: circuit.exit.outgoing).prefix(3).allSatisfy { (29...30).contains($0) })
    }

    @Test("a turn ends after 32 cells, and the next stream is served")
    func longest() throws {
        let circuit = try TestCircuit(window: 256, maximumWindow: 256)
        let sockets = try (0..<2).map { _ in try #require(circuit.openStream(exitSends: 200_000)).exit }
        for socket in sockets { socket.write(atMost: 200_000) }
        circuit.loop.run()
        #expect(try self.runs(of: circuit.exit.outgoing).prefix(4) == [32, 32, 32, 32])
    }

    @Test("a turn goes on for four cells more if nothing is left then", arguments: [(35, 35), (36, 36), (37, 32)])
    func remainder(cellCount: Int, run: Int) throws {
        let circuit = try TestCircuit(window: 256, maximumWindow: 256)
        let sockets = try (0..<2).map { _ in try #require(circuit.openStream(exitSends: 200_000)).exit }
        // The last of these cells is not full, so that it may hold what comes next.
        let byteCount = cellCount * 2000
        for socket in sockets { socket.write(atMost: byteCount) }
        circuit.loop.run()
        #expect(try self.runs(of: circuit.exit.outgoing).first == run)
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
        let circuit = try TestCircuit(window: 64, maximumWindow: 64)
        let sockets = try (0..<16).map { _ in try #require(circuit.openStream(exitSends: 200_000)).exit }
        // One SendMe says how long the path is.
        sockets[0].write(atMost: 100_000)
        circuit.loop.run()
        circuit.advance(by: .seconds(1))
        circuit.settle()
        #expect(circuit.exitEndpoint.smoothedRTT == .seconds(1))
        for socket in sockets { socket.write(atMost: 20_000) }
        circuit.loop.run()
        // Half of the window is 32 cells: two for each stream.
        #expect(try self.runs(of: circuit.exit.outgoing).prefix(16) == ArraySlice(repeating: 2, count: 16))
    }
}
