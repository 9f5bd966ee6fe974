import NIOCore
import OnionCircuits
import TestSupport
import Testing

@Suite("Queue ledger")
struct QueueLedgerTests {
    private func time(_ seconds: Int64) -> NIODeadline { .start + .seconds(seconds) }

    @Test("names no victim at the ceiling, and the oldest queue one byte above it")
    func ceiling() {
        var ledger = QueueLedger<String>(ceiling: 100)
        ledger.added(50, to: "old", now: self.time(0))
        #expect(ledger.victim == nil)
        ledger.added(50, to: "new", now: self.time(1))
        #expect(ledger.victim == nil)
        ledger.added(1, to: "new", now: self.time(2))
        #expect(ledger.victim == "old")
        #expect(ledger.forget("old") == 50)
        #expect(ledger.victim == nil)
        #expect(ledger.byteCount == 51)
    }

    @Test("a queue that moves is younger than one that stands still")
    func moving() {
        var ledger = QueueLedger<String>(ceiling: 1000)
        ledger.added(100, to: "moving", now: self.time(0))
        ledger.added(100, to: "stuck", now: self.time(5))
        // Never empty, but all that was there at first has long gone.
        for second in 1...60 {
            ledger.added(100, to: "moving", now: self.time(Int64(second)))
            ledger.removed(100, from: "moving", now: self.time(Int64(second)))
        }
        #expect(ledger.byteCount(of: "moving") == 100)
        ledger.added(900, to: "third", now: self.time(60))
        #expect(ledger.victim == "stuck")
    }

    @Test("what is left is younger than the mark, from the very byte that reaches it")
    func mark() {
        for (count, victim) in [(8, "moving"), (9, "stuck")] {
            var ledger = QueueLedger<String>(ceiling: 20)
            ledger.added(10, to: "moving", now: self.time(0))
            ledger.added(1, to: "stuck", now: self.time(1))
            // The mark is behind the ten.
            ledger.removed(1, from: "moving", now: self.time(2))
            ledger.added(10, to: "moving", now: self.time(3))
            ledger.removed(count, from: "moving", now: self.time(4))
            ledger.added(20, to: "third", now: self.time(5))
            #expect(ledger.victim == victim)
        }
    }

    @Test("nothing added is no queue")
    func nothing() {
        var ledger = QueueLedger<String>(ceiling: 10)
        ledger.added(0, to: "none", now: self.time(0))
        #expect(ledger.victim == nil)
        ledger.added(5, to: "old", now: self.time(1))
        ledger.added(6, to: "new", now: self.time(2))
        #expect(ledger.victim == "old")
        ledger.added(0, to: "none", now: self.time(3))
        #expect(ledger.victim == "old")
    }

    @Test("an emptied queue begins anew")
    func emptied() {
        var ledger = QueueLedger<String>(ceiling: 10)
        ledger.added(5, to: "a", now: self.time(0))
        ledger.added(5, to: "b", now: self.time(1))
        ledger.removed(5, from: "a", now: self.time(2))
        #expect(ledger.byteCount == 5)
        ledger.added(5, to: "a", now: self.time(3))
        ledger.added(1, to: "a", now: self.time(3))
        #expect(ledger.victim == "b")
    }

    @Test("of equally old queues the largest is the victim")
    func equallyOld() {
        var ledger = QueueLedger<String>(ceiling: 10)
        ledger.added(5, to: "small", now: self.time(0))
        ledger.added(6, to: "large", now: self.time(0))
        #expect(ledger.victim == "large")
    }

    @Test("the total is the sum of the queues, whatever happens", arguments: UInt64(1)...10)
    func sums(seed: UInt64) {
        print("seed", seed)
        var random = SplitMix64(seed)
        var ledger = QueueLedger<Int>(ceiling: 5000)
        var model: [Int: Int] = [:]
        for step in 0..<5000 {
            let key = Int.random(in: 0..<20, using: &random)
            let now = self.time(Int64(step))
            let have = model[key, default: 0]
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let count = Int.random(in: 1...500, using: &random)
                model[key] = have + count
                ledger.added(count, to: key, now: now)
                if let victim = ledger.victim {
                    #expect(ledger.forget(victim) == model[victim])
                    model[victim] = nil
                }
            case 5..<9:
                let count = Int.random(in: 0...have, using: &random)
                ledger.removed(count, from: key, now: now)
                model[key] = have - count
            default:
                ledger.forget(key)
                model[key] = nil
            }
            #expect(ledger.byteCount == model.values.reduce(0, +))
            #expect(ledger.byteCount(of: key) == model[key, default: 0])
        }
    }
}
