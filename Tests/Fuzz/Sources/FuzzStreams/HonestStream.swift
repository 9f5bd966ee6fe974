import NIOCore
import OnionCells
import OnionCircuits

/// Both ends of a stream, honest, and the wire between them, which delays and keeps the order.
struct HonestStream {
    private struct Sent {
        let message: StreamMessage
        let at: NIODeadline
    }

    /// A link that is silent for longer is closed, and its circuits with it.
    private static let longestDelay = TimeAmount.milliseconds(2500)

    private var ends = [StreamEnd(role: .client), StreamEnd(role: .exit)]
    /// What is on its way from each end.
    private var wires: [[Sent]] = [[], []]
    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    mutating func play(_ event: UInt8, amount: UInt8) {
        let side = Int(event & 1)
        switch (event >> 1) % 8 {
        case 0: self.say(1, self.ends[1].establish(now: self.now))
        case 1: self.say(side, self.ends[side].send(Int(amount) * 4))
        case 2: self.say(side, self.ends[side].drain(Int(amount) * 4, now: self.now))
        case 3 where amount & 3 == 0: self.say(side, self.ends[side].finish())
        case 3 where amount & 3 == 1:
            self.say(side, self.ends[side].breakOff(EndReason(rawValue: amount >> 2) ?? .reset))
        case 4: self.deliver(to: 1 - side, count: Int(amount))
        case 5: self.pass(.milliseconds(Int64(amount)))
        default: break
        }
        self.check()
    }

    /// Let everything arrive and drain; then both directions must have come to their ends, or the stream was broken off.
    mutating func finish() {
        self.say(1, self.ends[1].establish(now: self.now))
        for side in 0...1 { self.say(side, self.ends[side].finish()) }
        for _ in 0..<4 {
            for side in 0...1 { self.deliver(to: side, count: .max) }
            for side in 0...1 { self.say(side, self.ends[side].drain(.max, now: self.now)) }
            self.pass(.milliseconds(60))
        }
        precondition(self.wires.allSatisfy(\.isEmpty), "the ends go on talking for ever")
        precondition(self.ends.allSatisfy(\.life.isClosed), "a stream does not end")
        guard !self.ends.contains(where: \.isBroken) else { return }
        for side in 0...1 {
            precondition(
                self.ends[1 - side].receivedByteCount == self.ends[side].sentByteCount, "bytes are lost")
        }
    }

    private mutating func say(_ side: Int, _ messages: [StreamMessage]) {
        self.wires[side] += messages.map { Sent(message: $0, at: self.now) }
    }

    private mutating func deliver(to side: Int, count: Int) {
        for _ in 0..<min(count, self.wires[1 - side].count) {
            let message = self.wires[1 - side].removeFirst().message
            do throws(CircuitError) {
                self.say(side, try self.ends[side].receive(message, now: self.now))
            } catch {
                preconditionFailure("an honest end finds a fault in another: \(error)")
            }
        }
    }

    private mutating func pass(_ time: TimeAmount) {
        self.now = self.now + time
        for side in 0...1 {
            self.say(side, self.ends[side].timePassed(now: self.now))
            let late = self.wires[1 - side].prefix { self.now - $0.at > Self.longestDelay }.count
            self.deliver(to: side, count: late)
        }
    }

    private func check() {
        for end in self.ends {
            let limit = StreamEnd.limits.high + 2 * StreamEnd.limits.inFlight
            precondition(
                end.gate.bufferedByteCount <= limit + end.unboundedByteCount,
                "a stream holds more than its limits allow")
        }
    }
}
