import NIOCore
import OnionCells
import TestSupport
import Testing

@testable import OnionLink

@Suite("Outgoing cells")
struct OutgoingCellsTests {
    private static func circuit(_ number: UInt32) -> CircuitID { CircuitID(rawValue: number) }

    /// A cell that says its circuit and number; returns whether its queue is then too long.
    private static func append(_ circuit: UInt32, _ number: UInt32, to outgoing: inout OutgoingCells) -> Bool {
        outgoing.append(circuit: Self.circuit(circuit)) { cell in
            CellHeader(circuitID: Self.circuit(circuit), command: .relay).write(to: &cell)
            cell.storeBytes(of: number, toByteOffset: 5, as: UInt32.self)
        } == .queued(isOverLimit: true)
    }

    private static func cells(in buffer: ByteBuffer?) -> [(circuit: UInt32, number: UInt32)] {
        guard var buffer else { return [] }
        var found: [(circuit: UInt32, number: UInt32)] = []
        while let cell = buffer.readSlice(length: Cell.byteCount) {
            let span = cell.readableBytesSpan
            found.append(
                (CellHeader(of: span).circuitID.rawValue, span.unsafeLoadUnaligned(fromByteOffset: 5, as: UInt32.self)))
        }
        return found
    }

    private static func drainAll(_ outgoing: inout OutgoingCells) -> [(circuit: UInt32, number: UInt32)] {
        var found: [(circuit: UInt32, number: UInt32)] = []
        var drained: [CircuitID] = []
        while outgoing.fillBatch(now: .now(), drained: &drained) {
            found += Self.cells(in: outgoing.takeBatch())
        }
        return found
    }

    @Test("cells of a circuit keep their order across blocked and open times", arguments: 0..<30)
    func order(seed: UInt64) {
        var random = SplitMix64(seed)
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 10_000, queuedCellsPerLink: 100_000))
        outgoing.isBlocked = false
        var next: [UInt32: UInt32] = [:]
        var seen: [(circuit: UInt32, number: UInt32)] = []
        for _ in 0..<600 {
            switch Int.random(in: 0..<8, using: &random) {
            case 0: outgoing.isBlocked.toggle()
            case 1:
                var drained: [CircuitID] = []
                if !outgoing.isBlocked, outgoing.fillBatch(now: .now(), drained: &drained) {
                    seen += Self.cells(in: outgoing.takeBatch())
                }
            case 2:
                // A batch from another loop.
                var cells = ByteBuffer()
                for _ in 0..<Int.random(in: 1...5, using: &random) {
                    let circuit = UInt32.random(in: 1...4, using: &random)
                    let number = next[circuit, default: 0]
                    next[circuit] = number + 1
                    cells.appendCell { cell in
                        CellHeader(circuitID: Self.circuit(circuit), command: .relay).write(to: &cell)
                        cell.storeBytes(of: number, toByteOffset: 5, as: UInt32.self)
                    }
                }
                var overflowed: [CircuitID] = []
                outgoing.append(batch: cells, overflowed: &overflowed)
                #expect(overflowed.isEmpty)
            default:
                let circuit = UInt32.random(in: 1...4, using: &random)
                #expect(!Self.append(circuit, next[circuit, default: 0], to: &outgoing))
                next[circuit, default: 0] += 1
            }
        }
        seen += Self.drainAll(&outgoing)
        for (circuit, count) in next {
            #expect(seen.filter { $0.circuit == circuit }.map(\.number) == Array(0..<count), "seed \(seed)")
        }
        #expect(outgoing.queuedByteCount == 0 && !outgoing.hasWaiting)
    }

    @Test("a circuit's queue may be as long as its limit, and no longer")
    func circuitLimit() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 10, queuedCellsPerLink: 1000))
        for number in 0..<10 { #expect(!Self.append(1, UInt32(number), to: &outgoing)) }
        #expect(Self.append(1, 10, to: &outgoing))
        #expect(!Self.append(2, 0, to: &outgoing))
    }

    @Test("with the link's total spent, those with more than their part go")
    func linkLimit() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 100))
        for number in 0..<99 { #expect(!Self.append(1, UInt32(number), to: &outgoing)) }
        #expect(!Self.append(2, 0, to: &outgoing))
        #expect(!Self.append(2, 1, to: &outgoing))
        #expect(Self.append(1, 99, to: &outgoing))
    }

    @Test("neither the link's total nor a circuit's part is passed by what just fills it")
    func atTheLinkLimit() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 100))
        for number in 0..<40 { #expect(!Self.append(2, UInt32(number), to: &outgoing)) }
        // More than its part, with the total not passed.
        for number in 0..<60 { #expect(!Self.append(1, UInt32(number), to: &outgoing)) }
        for number in 40..<50 { #expect(!Self.append(2, UInt32(number), to: &outgoing)) }
        #expect(Self.append(2, 50, to: &outgoing))
    }

    @Test("cells from elsewhere wait with the others, and a circuit that is over its limit is named once")
    func batches() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 2, queuedCellsPerLink: 1000))
        var cells = ByteBuffer()
        for number in [1, 1, 1, 1, 2, 1] as [UInt32] {
            cells.appendCell { CellHeader(circuitID: Self.circuit(number), command: .relay).write(to: &$0) }
        }
        var overflowed: [CircuitID] = []
        outgoing.append(batch: cells, overflowed: &overflowed)
        #expect(overflowed == [Self.circuit(1)] && outgoing.batchByteCount == 0)
        #expect(outgoing.backlog(of: Self.circuit(1)) == 5 && outgoing.backlog(of: Self.circuit(2)) == 1)
        // Open again, what was read goes behind what waits.
        outgoing.isBlocked = false
        let result = outgoing.append(circuit: Self.circuit(3), cell: cells.readableBytesSpan.extracting(0..<2048))
        #expect(result == .queued(isOverLimit: false))
        #expect(outgoing.batchByteCount == 0 && outgoing.backlog(of: Self.circuit(3)) == 1)
    }

    @Test("a batch has room for as much as the last one held")
    func batchCapacity() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        outgoing.isBlocked = false
        outgoing.buffers = .large
        let nothing = outgoing.takeBatch()
        #expect(nothing == nil)
        for number in 0..<40 as Range<UInt32> { _ = Self.append(1, number, to: &outgoing) }
        _ = outgoing.takeBatch()
        _ = Self.append(1, 0, to: &outgoing)
        let next = outgoing.takeBatch()
        #expect((next?.capacity ?? 0) >= 40 * Cell.byteCount)
        _ = Self.append(1, 0, to: &outgoing)
        let small = outgoing.takeBatch()
        #expect((small?.capacity ?? .max) < 4 * Cell.byteCount)
    }

    @Test(
        "circuits that have sent are remembered while they are not too many, and then all are new", arguments: [0, 1])
    func remembered(more: Int) {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 10_000))
        for number in 0..<50 as Range<UInt32> { _ = Self.append(1, number, to: &outgoing) }
        for circuit in 2...UInt32(OutgoingCells.rememberedLimit + more) { _ = Self.append(circuit, 0, to: &outgoing) }
        _ = Self.drainAll(&outgoing)
        outgoing.releaseIdleMemory()
        // The one with much to its account comes first only if that is forgotten.
        _ = Self.append(1, 0, to: &outgoing)
        _ = Self.append(2, 0, to: &outgoing)
        #expect(Self.drainAll(&outgoing).map(\.circuit) == (more == 0 ? [2, 1] : [1, 2]))
    }

    @Test("cells about the link itself have a limit of their own")
    func linkCells() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        for number in 0..<OutgoingCells.linkCellLimit { #expect(!Self.append(0, UInt32(number), to: &outgoing)) }
        #expect(Self.append(0, 0, to: &outgoing))
    }

    @Test("a quiet circuit goes before one with much to send")
    func quietFirst() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        for number in 0..<100 { _ = Self.append(1, UInt32(number), to: &outgoing) }
        var drained: [CircuitID] = []
        _ = outgoing.fillBatch(now: .now(), drained: &drained)
        _ = outgoing.takeBatch()
        _ = Self.append(2, 0, to: &outgoing)
        _ = outgoing.fillBatch(now: .now(), drained: &drained)
        #expect(Self.cells(in: outgoing.takeBatch()).first?.circuit == 2)
    }

    @Test("a dropped queue leaves nothing of its circuit, and the others alone")
    func drop() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        for number in 0..<5 {
            _ = Self.append(1, UInt32(number), to: &outgoing)
            _ = Self.append(2, UInt32(number), to: &outgoing)
        }
        outgoing.drop(Self.circuit(1))
        #expect(outgoing.backlog(of: Self.circuit(1)) == 0 && outgoing.queuedByteCount == 5 * Cell.byteCount)
        #expect(Self.drainAll(&outgoing).map(\.circuit) == [2, 2, 2, 2, 2])
        #expect(outgoing.queuedByteCount == 0)
    }

    @Test("who makes cells hears that there is room, when the queue is short and when it is empty")
    func room() {
        // Cells that wait of one circuit or two, and who has room after one batch.
        let batch = LinkBuffers.large.fullBatchByteCount / Cell.byteCount
        let roomBelow = OutgoingCells.roomBelow
        let cases: [(counts: [Int], roomy: [UInt32])] = [
            ([20], [1]), ([batch + roomBelow + 1], []), ([batch + roomBelow], [1]), ([20, 20], [1, 2, 1, 2]),
        ]
        for (counts, roomy) in cases {
            var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
            outgoing.buffers = .large
            for (index, count) in counts.enumerated() {
                for number in 0..<UInt32(count) { _ = Self.append(UInt32(index) + 1, number, to: &outgoing) }
            }
            var drained: [CircuitID] = []
            _ = outgoing.fillBatch(now: .now(), drained: &drained)
            #expect(drained.map(\.rawValue) == roomy)
        }
    }

    @Test("says where a cell went: into the batch as its first, its last or between, or into a queue")
    func appended() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1, queuedCellsPerLink: 1000))
        outgoing.isBlocked = false
        outgoing.buffers = .large
        let count = LinkBuffers.large.fullBatchByteCount / Cell.byteCount
        let results = (0..<count).map { _ in outgoing.append(circuit: Self.circuit(1)) { _ in } }
        #expect(results == [.first] + Array(repeating: .more, count: count - 2) + [.full])
        _ = outgoing.takeBatch()
        outgoing.isBlocked = true
        let queued = (0..<2).map { _ in outgoing.append(circuit: Self.circuit(1)) { _ in } }
        #expect(queued == [.queued(isOverLimit: false), .queued(isOverLimit: true)])
    }

    @Test("a circuit that waits alone moves as one, and all its cells count against it")
    func alone() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        for number in 0..<10 { _ = Self.append(1, UInt32(number), to: &outgoing) }
        #expect(Self.drainAll(&outgoing).map(\.number) == Array(0..<10))
        #expect(outgoing.takeTraffic()[Self.circuit(1)] == QueueTraffic(added: 20_480, removed: 20_480))
        // Another has to send about as much first.
        for number in 0..<12 as Range<UInt32> {
            _ = Self.append(1, number, to: &outgoing)
            _ = Self.append(2, number, to: &outgoing)
        }
        #expect(Self.drainAll(&outgoing).prefix(5).allSatisfy { $0.circuit == 2 })
    }

    @Test("a queue that is never empty does not keep what it has read")
    func memory() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        outgoing.buffers = .large
        var number: UInt32 = 0
        for _ in 0..<40 {
            _ = Self.append(1, number, to: &outgoing)
            number += 1
        }
        for _ in 0..<300 {
            var drained: [CircuitID] = []
            // As much as the batch then takes.
            for _ in 0..<LinkBuffers.large.fullBatchByteCount / Cell.byteCount {
                _ = Self.append(1, number, to: &outgoing)
                number += 1
            }
            _ = outgoing.fillBatch(now: .now(), drained: &drained)
            _ = outgoing.takeBatch()
            #expect(drained.isEmpty)
        }
        #expect(outgoing.backlog(of: Self.circuit(1)) == 40)
        #expect(outgoing.reservedByteCount <= 1 << 20)
    }

    @Test("a queue that was long once gives its memory back, and keeps its cells")
    func longOnce() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 20_000, queuedCellsPerLink: 20_000))
        // Full batches, and one cell.
        for number in 0..<9997 { _ = Self.append(1, UInt32(number), to: &outgoing) }
        var drained: [CircuitID] = []
        while outgoing.backlog(of: Self.circuit(1)) > 1, outgoing.fillBatch(now: .now(), drained: &drained) {
            _ = outgoing.takeBatch()
        }
        outgoing.releaseIdleMemory()
        #expect(outgoing.reservedByteCount <= OutgoingCells.keptQueueByteCount)
        #expect(Self.drainAll(&outgoing).map(\.number) == [9996])
    }

    @Test("says what queues gained and lost, and nothing of cells that never waited")
    func traffic() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        outgoing.isBlocked = false
        _ = Self.append(1, 0, to: &outgoing)
        #expect(!outgoing.hasTraffic)
        outgoing.isBlocked = true
        for number in 0..<4 { _ = Self.append(1, UInt32(number), to: &outgoing) }
        for number in 0..<3 { _ = Self.append(2, UInt32(number), to: &outgoing) }
        _ = Self.drainAll(&outgoing)
        _ = Self.append(3, 0, to: &outgoing)
        _ = Self.append(3, 1, to: &outgoing)
        outgoing.drop(Self.circuit(3))
        _ = Self.append(1, 9, to: &outgoing)
        #expect(outgoing.hasTraffic)
        let expected = [1: (5, 4), 2: (3, 3), 3: (2, 2)].map { circuit, cells in
            (
                Self.circuit(UInt32(circuit)),
                QueueTraffic(added: cells.0 * Cell.byteCount, removed: cells.1 * Cell.byteCount)
            )
        }
        let connection = LinkBuffers.small.blockedByteCount
        #expect(
            outgoing.takeTraffic()
                == Dictionary(uniqueKeysWithValues: expected + [(.link, QueueTraffic(added: connection))]))
        #expect(!outgoing.hasTraffic)
        outgoing.discardAll()
        #expect(
            outgoing.takeTraffic() == [
                Self.circuit(1): QueueTraffic(removed: Cell.byteCount), .link: QueueTraffic(removed: connection),
            ])
    }

    @Test("a connection that takes no more counts for the link, once, for as long as that lasts")
    func blockedConnection() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 1000))
        let connection = LinkBuffers.small.blockedByteCount
        // It is not there yet.
        outgoing.isBlocked = true
        outgoing.isBlocked = false
        #expect(!outgoing.hasTraffic)
        outgoing.isBlocked = true
        outgoing.isBlocked = true
        #expect(outgoing.takeTraffic() == [.link: QueueTraffic(added: connection)])
        outgoing.isBlocked = false
        outgoing.isBlocked = false
        #expect(outgoing.takeTraffic() == [.link: QueueTraffic(removed: connection)])
        outgoing.discardAll()
        #expect(!outgoing.hasTraffic)
    }

    @Test("new limits count for what waits already")
    func newLimits() {
        var outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 10, queuedCellsPerLink: 1000))
        for number in 0..<5 { #expect(!Self.append(1, UInt32(number), to: &outgoing)) }
        outgoing.limits = LinkLimits(queuedCellsPerCircuit: 5, queuedCellsPerLink: 1000)
        #expect(Self.append(1, 5, to: &outgoing))
    }
}
