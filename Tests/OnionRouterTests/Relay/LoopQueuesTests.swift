import NIOCore
import OnionCells
import OnionLink
import Testing

@testable import OnionRouter

@Suite("Queues of a loop")
struct LoopQueuesTests {
    private final class Mark {}
    private let marks = (Mark(), Mark())
    private var first: ObjectIdentifier { ObjectIdentifier(self.marks.0) }
    private var second: ObjectIdentifier { ObjectIdentifier(self.marks.1) }

    private func at(_ seconds: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .seconds(seconds) }
    private func circuit(_ number: UInt32) -> CircuitID { CircuitID(rawValue: number) }

    @Test("loops share the process's ceiling, and the oldest queue goes at one byte more")
    func ceiling() {
        var queues = LoopQueues(ceiling: 2000, loopCount: 2)
        queues.changed(self.first, [self.circuit(1): QueueTraffic(added: 600)], now: self.at(1))
        queues.changed(self.second, [self.circuit(1): QueueTraffic(added: 400)], now: self.at(2))
        #expect(queues.byteCount == 1000 && !queues.isOverCeiling && queues.victim == nil)
        queues.changed(self.second, [self.circuit(2): QueueTraffic(added: 1)], now: self.at(3))
        #expect(queues.isOverCeiling)
        #expect(queues.victim == .cells(link: self.first, self.circuit(1)))
    }

    @Test("a newer consensus moves the ceiling")
    func update() {
        var queues = LoopQueues(ceiling: 1000, loopCount: 1)
        queues.changed(self.first, [self.circuit(1): QueueTraffic(added: 900)], now: self.at(1))
        queues.update(ceiling: 1600, loopCount: 2)
        #expect(queues.isOverCeiling)
        queues.update(ceiling: 4000, loopCount: 2)
        #expect(!queues.isOverCeiling)
    }

    @Test("what was only passing through is not old, and leaves nothing behind")
    func passing() {
        var queues = LoopQueues(ceiling: 1000, loopCount: 1)
        queues.changed(self.first, [self.circuit(1): QueueTraffic(added: 800, removed: 800)], now: self.at(1))
        #expect(queues.byteCount == 0)
        queues.changed(self.first, [self.circuit(1): QueueTraffic(added: 500)], now: self.at(5))
        queues.changed(self.first, [self.circuit(2): QueueTraffic(added: 501)], now: self.at(3))
        #expect(queues.victim == .cells(link: self.first, self.circuit(2)))
    }

    @Test("what is left of a victim counts as the youngest, so that the next one is another")
    func relieved() {
        var queues = LoopQueues(ceiling: 100, loopCount: 1)
        queues.changed(self.first, [self.circuit(1): QueueTraffic(added: 300)], now: self.at(1))
        queues.changed(self.first, [self.circuit(2): QueueTraffic(added: 200)], now: self.at(2))
        // The circuit was destroyed, and one cell says so.
        queues.changed(self.first, [self.circuit(1): QueueTraffic(added: 20, removed: 300)], now: self.at(3))
        queues.relieved(.cells(link: self.first, self.circuit(1)), now: self.at(3))
        #expect(queues.byteCount == 220)
        #expect(queues.victim == .cells(link: self.first, self.circuit(2)))
        // The cell leaves later on.
        queues.changed(self.first, [self.circuit(1): QueueTraffic(removed: 20)], now: self.at(4))
        #expect(queues.byteCount == 200)
    }
}
