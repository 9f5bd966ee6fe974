import NIOCore
import OnionCircuits
import TestSupport
import Testing

@Suite("Stream gate")
struct StreamGateTests {
    private let limits = StreamGate.Limits(high: 100, low: 40, inFlight: 500)
    private func time(_ milliseconds: Int64) -> NIODeadline { .start + .milliseconds(milliseconds) }

    @Test("pauses once above the limit, resumes once at the low mark")
    func gate() throws {
        var gate = StreamGate(limits: self.limits)
        #expect(try gate.dataReceived(byteCount: 100, now: self.time(0)) == .none)
        #expect(try gate.dataReceived(byteCount: 1, now: self.time(0)) == .sendXOff)
        #expect(try gate.dataReceived(byteCount: 50, now: self.time(1)) == .none)
        #expect(gate.dataDrained(byteCount: 110, now: self.time(2)) == .none)
        #expect(gate.dataDrained(byteCount: 1, now: self.time(100)) == .sendXOn(drainRate: 1))
        #expect(!gate.isPaused)
    }

    @Test("XOn comes as soon as the buffer has drained, with the rate so far", arguments: [(0, 90), (1, 90), (10, 9)])
    func immediate(milliseconds: Int64, rate: UInt32) throws {
        var gate = StreamGate(limits: self.limits)
        #expect(try gate.dataReceived(byteCount: 101, now: self.time(0)) == .sendXOff)
        #expect(gate.dataDrained(byteCount: 90, now: self.time(milliseconds)) == .sendXOn(drainRate: rate))
    }

    @Test("XOff waits until 50 ms after the last, and says so once")
    func distance() throws {
        var gate = StreamGate(limits: self.limits)
        #expect(try gate.dataReceived(byteCount: 101, now: self.time(0)) == .sendXOff)
        #expect(gate.dataDrained(byteCount: 101, now: self.time(25)) == .sendXOn(drainRate: 4))
        #expect(try gate.dataReceived(byteCount: 300, now: self.time(30)) == .wait(until: self.time(50)))
        #expect(try gate.dataReceived(byteCount: 300, now: self.time(49)) == .none)
        #expect(gate.timerFired(now: self.time(50)) == .sendXOff)
        #expect(gate.dataDrained(byteCount: 600, now: self.time(51)) == .sendXOn(drainRate: 600))
        #expect(try gate.dataReceived(byteCount: 101, now: self.time(100)) == .sendXOff)
    }

    @Test("a timer that finds the buffer drained says nothing, and the next XOff need not wait")
    func timerTooLate() throws {
        var gate = StreamGate(limits: self.limits)
        #expect(try gate.dataReceived(byteCount: 101, now: self.time(0)) == .sendXOff)
        #expect(gate.dataDrained(byteCount: 101, now: self.time(10)) == .sendXOn(drainRate: 10))
        #expect(try gate.dataReceived(byteCount: 101, now: self.time(20)) == .wait(until: self.time(50)))
        #expect(gate.dataDrained(byteCount: 1, now: self.time(40)) == .none)
        #expect(gate.timerFired(now: self.time(50)) == .none)
        #expect(try gate.dataReceived(byteCount: 1, now: self.time(51)) == .sendXOff)
    }

    @Test("the peer may send what was in flight past XOff, and not a byte more")
    func pastXOff() throws {
        var gate = StreamGate(limits: self.limits)
        #expect(try gate.dataReceived(byteCount: 101, now: self.time(0)) == .sendXOff)
        #expect(try gate.dataReceived(byteCount: 500, now: self.time(1)) == .none)
        #expect(throws: CircuitError.dataPastXOff) { try gate.dataReceived(byteCount: 1, now: self.time(2)) }
    }

    @Test("many streams of a circuit get less each, and never less than a quarter")
    func shared() {
        let limits = StreamGate.Limits(high: 4000, low: 1000, inFlight: 9000, whileOpening: 3000)
        #expect(limits.shared(by: 0) == limits && limits.shared(by: 31) == limits)
        #expect(limits.shared(by: 32) == .init(high: 2000, low: 500, inFlight: 9000, whileOpening: 2000))
        for count in [64, 256, .max] {
            #expect(limits.shared(by: count) == .init(high: 1000, low: 250, inFlight: 9000, whileOpening: 1000))
        }
    }

    @Test("strange limits are made valid")
    func strangeLimits() {
        let limits = StreamGate.Limits(high: 0, low: 50, inFlight: -1)
        #expect(limits.high == 1)
        #expect(limits.low == 0)
        #expect(limits.inFlight == 0)
        let negative = StreamGate.Limits(high: 100, low: -1, inFlight: 0, whileOpening: -1)
        #expect(negative.low == 0)
        #expect(negative.whileOpening == 0)
    }

    @Test("alternates, keeps its distance, and never pauses an empty buffer for good", arguments: UInt64(1)...20)
    func property(seed: UInt64) throws {
        print("seed", seed)
        var random = SplitMix64(seed)
        var gate = StreamGate(limits: StreamGate.Limits(high: 1000, low: 300, inFlight: .max / 2))
        var sender = XOffState()
        var now = NIODeadline.start
        var pausedAt: NIODeadline?
        var timer: NIODeadline?
        for _ in 0..<5000 {
            now = now + .milliseconds(Int64.random(in: 0...20, using: &random))
            var action = StreamGate.Action.none
            if let due = timer, now >= due {
                timer = nil
                action = gate.timerFired(now: now)
            } else if Bool.random(using: &random) {
                action = try gate.dataReceived(byteCount: Int.random(in: 1...400, using: &random), now: now)
            } else {
                let count = min(gate.bufferedByteCount, Int.random(in: 0...450, using: &random))
                action = gate.dataDrained(byteCount: count, now: now)
            }
            switch action {
            case .none: break
            case .wait(let until):
                #expect(timer == nil)
                timer = until
            case .sendXOff:
                try sender.xOffReceived(now: now)
                #expect(pausedAt.map { now - $0 >= .milliseconds(50) } ?? true)
                pausedAt = now
            case .sendXOn(let rate):
                try sender.xOnReceived(drainRate: rate, now: now)
                #expect(gate.bufferedByteCount <= 300)
            }
        }
        #expect(sender.isPaused == gate.isPaused)
        now = now + .seconds(1)
        _ = gate.timerFired(now: now)
        _ = gate.dataDrained(byteCount: gate.bufferedByteCount, now: now + .seconds(1))
        #expect(!gate.isPaused)
    }

    @Test("until there is a socket the lower limit holds, and nothing is resumed")
    func opening() throws {
        let limits = StreamGate.Limits(high: 1000, low: 500, inFlight: 300, whileOpening: 100)
        var gate = StreamGate(limits: limits, isOpening: true)
        #expect(try gate.dataReceived(byteCount: 100, now: self.time(0)) == .none)
        #expect(try gate.dataReceived(byteCount: 1, now: self.time(1)) == .sendXOff)
        #expect(gate.timerFired(now: self.time(500)) == .none)
        // What was in flight still comes, and no more.
        #expect(try gate.dataReceived(byteCount: 300, now: self.time(600)) == .none)
        var hostile = gate
        #expect(throws: CircuitError.dataPastXOff) { try hostile.dataReceived(byteCount: 1, now: self.time(601)) }
        #expect(gate.opened(now: self.time(700)) == .sendXOn(drainRate: 0))
        #expect(try gate.dataReceived(byteCount: 599, now: self.time(800)) == .none)
        #expect(try gate.dataReceived(byteCount: 1, now: self.time(801)) == .sendXOff)
    }

    @Test("a limit of 0 pauses at the first byte; one above the usual limit changes nothing")
    func openingLimits() throws {
        var none = StreamGate(limits: .init(high: 1000, low: 500, inFlight: 0, whileOpening: 0), isOpening: true)
        #expect(try none.dataReceived(byteCount: 1, now: self.time(0)) == .sendXOff)
        #expect(StreamGate.Limits(high: 10, low: 5, inFlight: 0, whileOpening: 11).whileOpening == 10)
        #expect(StreamGate.Limits(high: 10, low: 5, inFlight: 0).whileOpening == 10)
    }
}

@Suite("XOff state")
struct XOffStateTests {
    @Test("pauses and goes on, and keeps the rate that was said")
    func pauses() throws {
        var state = XOffState()
        try state.xOffReceived(now: .start)
        #expect(state.isPaused)
        try state.xOnReceived(drainRate: 77, now: .start + .milliseconds(50))
        #expect(!state.isPaused)
        #expect(state.drainRate == 77)
    }

    @Test("XOff and XOn must alternate, XOff first")
    func alternate() throws {
        var state = XOffState()
        #expect(throws: CircuitError.xOffOutOfTurn) { try state.xOnReceived(drainRate: 1, now: .start) }
        try state.xOffReceived(now: .start)
        #expect(throws: CircuitError.xOffOutOfTurn) { try state.xOffReceived(now: .start + .seconds(1)) }
    }

    @Test("a burst of 128 passes, the next is a storm; at the allowed distance it goes on for ever")
    func storm() throws {
        var state = XOffState()
        func say(_ now: NIODeadline) throws {
            if state.isPaused {
                try state.xOnReceived(drainRate: 1, now: now)
            } else {
                try state.xOffReceived(now: now)
            }
        }
        for _ in 0..<128 { try say(.start) }
        #expect(throws: CircuitError.xOffStorm) { try say(.start) }
        for step in 1...1000 { try say(.start + .milliseconds(Int64(step) * 25)) }
    }
}
