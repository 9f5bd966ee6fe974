import NIOCore
import OnionCells
import OnionCircuits
import TestSupport
import Testing

@Suite("Circuit scheduler")
struct CircuitSchedulerTests {
    private func id(_ number: UInt32) -> CircuitID { CircuitID(rawValue: number) }
    private func scheduler(halfLife: TimeAmount = .milliseconds(100)) -> CircuitScheduler<CircuitID> {
        CircuitScheduler(halfLife: halfLife, now: .start)
    }

    @Test("a quiet circuit comes before a busy one")
    func quietFirst() {
        var scheduler = self.scheduler()
        scheduler.enqueued(self.id(1))
        for _ in 0..<100 { scheduler.sent(self.id(1), cellCount: 8, isEmpty: false, now: .start) }
        scheduler.enqueued(self.id(2))
        #expect(scheduler.next() == self.id(2))
        scheduler.sent(self.id(2), cellCount: 1, isEmpty: true, now: .start)
        #expect(scheduler.next() == self.id(1))
    }

    @Test("cells of long ago count for little")
    func forgets() {
        var scheduler = self.scheduler()
        scheduler.enqueued(self.id(1))
        scheduler.sent(self.id(1), cellCount: 1024, isEmpty: false, now: .start)
        let later = NIODeadline.start + .seconds(1)
        #expect(scheduler.recentCells(of: self.id(1), now: .start + .milliseconds(100)) == 512)
        #expect(scheduler.recentCells(of: self.id(1), now: later) == 1)
        scheduler.enqueued(self.id(2))
        scheduler.sent(self.id(2), cellCount: 2, isEmpty: false, now: later)
        #expect(scheduler.next() == self.id(1))
    }

    @Test("a half-life is a millisecond at least")
    func shortHalfLife() {
        var scheduler = self.scheduler(halfLife: .zero)
        scheduler.sent(self.id(1), cellCount: 1024, isEmpty: true, now: .start)
        #expect(scheduler.recentCells(of: self.id(1), now: .start + .milliseconds(1)) == 512)
    }

    @Test("a clock that goes back changes nothing")
    func back() {
        var scheduler = self.scheduler()
        let later = NIODeadline.start + .seconds(1)
        scheduler.sent(self.id(1), cellCount: 7, isEmpty: true, now: later)
        for now in [later, .start + .milliseconds(500), .start, .uptimeNanoseconds(0)] {
            #expect(scheduler.recentCells(of: self.id(1), now: now) == 7)
        }
    }

    @Test("however often it is asked, no time is lost")
    func oftenAsked() {
        // A tick is a millisecond.
        var scheduler = self.scheduler(halfLife: .milliseconds(8))
        scheduler.sent(self.id(1), cellCount: 1024, isEmpty: true, now: .start)
        for step in 1...16 {
            _ = scheduler.recentCells(of: self.id(1), now: .start + .microseconds(Int64(step) * 1500))
        }
        #expect(scheduler.recentCells(of: self.id(1), now: .start + .milliseconds(24)) == 128)
    }

    @Test("who has sent less comes first, however long ago that was")
    func longAgo() {
        var scheduler = self.scheduler()
        scheduler.sent(self.id(1), cellCount: 100, isEmpty: true, now: .start)
        scheduler.sent(self.id(2), cellCount: 50, isEmpty: true, now: .start)
        #expect(scheduler.recentCells(of: self.id(1), now: .start + .hours(1000)) > 0)
        scheduler.enqueued(self.id(1))
        scheduler.enqueued(self.id(2))
        #expect(scheduler.next() == self.id(2))
    }

    @Test("equal circuits take turns")
    func turns() {
        var scheduler = self.scheduler()
        for number: UInt32 in 1...3 { scheduler.enqueued(self.id(number)) }
        var order: [UInt32] = []
        for _ in 0..<9 {
            guard let next = scheduler.next() else { break }
            order.append(next.rawValue)
            scheduler.sent(next, cellCount: 4, isEmpty: false, now: .start)
        }
        #expect(order == [1, 2, 3, 1, 2, 3, 1, 2, 3])
    }

    @Test("an emptied circuit does not come up, but is remembered; a removed one is not")
    func emptied() {
        var scheduler = self.scheduler()
        scheduler.enqueued(self.id(1))
        scheduler.enqueued(self.id(1))
        #expect(scheduler.waitingCount == 1)
        scheduler.sent(self.id(1), cellCount: 7, isEmpty: true, now: .start)
        #expect(scheduler.next() == nil)
        #expect(scheduler.isEmpty)
        #expect(scheduler.recentCells(of: self.id(1), now: .start) == 7)
        scheduler.removed(self.id(1))
        #expect(scheduler.recentCells(of: self.id(1), now: .start) == 0)
        #expect(scheduler.count == 0)
    }

    @Test("cells that went past the scheduler count too")
    func past() {
        var scheduler = self.scheduler()
        scheduler.sent(self.id(1), cellCount: 7, isEmpty: true, now: .start)
        #expect(scheduler.isEmpty)
        scheduler.enqueued(self.id(1))
        scheduler.enqueued(self.id(2))
        #expect(scheduler.next() == self.id(2))
    }

    @Test("two busy circuits share a link evenly, whenever the second begins")
    func even() {
        var scheduler = self.scheduler()
        var sent: [CircuitID: Int] = [:]
        scheduler.enqueued(self.id(1))
        for step in 0..<20_000 {
            if step == 10_000 {
                scheduler.enqueued(self.id(2))
                sent = [:]
            }
            guard let next = scheduler.next() else { break }
            sent[next, default: 0] += 1
            scheduler.sent(next, cellCount: 1, isEmpty: false, now: .start + .microseconds(Int64(step) * 100))
        }
        let shares = [sent[self.id(1), default: 0], sent[self.id(2), default: 0]]
        #expect(shares.allSatisfy { $0 >= 4000 }, "\(shares)")
    }

    @Test("serves the least recent user, as a plain search would, across scalings", arguments: UInt64(1)...10)
    func model(seed: UInt64) {
        print("seed", seed)
        var random = SplitMix64(seed)
        var scheduler = self.scheduler(halfLife: .milliseconds(8))
        var weights: [UInt32: Double] = [:]
        var waiting: Set<UInt32> = []
        var now = NIODeadline.start
        for _ in 0..<5000 {
            // A whole number of ticks, so that the model's factors are the scheduler's.
            let milliseconds =
                Int64.random(in: 0...40, using: &random) == 0 ? 1000 : Int64.random(in: 0...3, using: &random)
            now = now + .milliseconds(milliseconds)
            for key in weights.keys { weights[key]? /= Double.exp2(Double(milliseconds) / 8) }
            let number = UInt32.random(in: 1...20, using: &random)
            switch Int.random(in: 0..<8, using: &random) {
            case 0..<3:
                scheduler.enqueued(self.id(number))
                waiting.insert(number)
                if weights[number] == nil { weights[number] = 0 }
            case 3..<7:
                guard let next = scheduler.next() else {
                    #expect(waiting.isEmpty)
                    continue
                }
                let least = waiting.compactMap { weights[$0] }.min() ?? -1
                let chosen = weights[next.rawValue] ?? -2
                #expect(waiting.contains(next.rawValue))
                #expect(chosen <= least * (1 + 1e-6) + 1e-30, "\(chosen) \(least)")
                let isEmpty = Bool.random(using: &random)
                scheduler.sent(next, cellCount: 3, isEmpty: isEmpty, now: now)
                weights[next.rawValue, default: 0] += 3
                if isEmpty { waiting.remove(next.rawValue) }
            default:
                scheduler.removed(self.id(number))
                waiting.remove(number)
                weights[number] = nil
            }
            #expect(scheduler.waitingCount == waiting.count)
            #expect(scheduler.count == weights.count)
        }
    }
}

extension Double {
    /// 2 to the power of `x`, for the model.
    fileprivate static func exp2(_ x: Double) -> Double {
        let whole = x.rounded(.down)
        var power = 1.0
        // 2^(f/8) for the eighths that occur.
        for _ in 0..<Int(((x - whole) * 8).rounded()) { power *= 1.0905077326652577 }
        return Double(sign: .plus, exponent: Int(whole), significand: power)
    }
}
