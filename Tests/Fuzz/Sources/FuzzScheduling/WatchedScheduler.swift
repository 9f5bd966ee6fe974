import NIOCore
import OnionCircuits

/// The circuit scheduler beside a list of who waits and a count of what each has sent, halved by the clock.
struct WatchedScheduler: WatchedMachine {
    private static let halfLife = TimeAmount.seconds(1)

    private struct Circuit {
        /// Cells, each counted for its half-lives.
        var recent = 0.0
        var isWaiting = false
    }

    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var scheduler: CircuitScheduler<Int>
    private var circuits: [Int: Circuit] = [:]

    init() { self.scheduler = CircuitScheduler(halfLife: Self.halfLife, now: self.now) }

    mutating func play(_ event: UInt8, _ value: Int) {
        let id = value & 15
        switch event % 6 {
        case 0:
            self.scheduler.enqueued(id)
            self.circuits[id, default: Circuit()].isWaiting = true
        case 1:
            let isEmpty = value & 0x40 != 0
            self.scheduler.sent(id, cellCount: value >> 4, isEmpty: isEmpty, now: self.now)
            self.circuits[id, default: Circuit()].recent += Double(value >> 4)
            if isEmpty { self.circuits[id]?.isWaiting = false }
        case 2: self.serve(isEmpty: value & 1 == 0)
        case 3:
            self.scheduler.removed(id)
            self.circuits[id] = nil
        case 4: self.pass(.milliseconds(Int64(value) * 125))
        default: self.pass(.seconds(Int64(value) * 20))
        }
        precondition(self.scheduler.count == self.circuits.count, "circuits are remembered that were not told, or none")
        precondition(
            self.scheduler.waitingCount == self.circuits.values.count { $0.isWaiting }, "others wait than those that do"
        )
        precondition(self.scheduler.isEmpty == (self.scheduler.waitingCount == 0), "nobody waits, and somebody does")
        precondition((self.scheduler.next() == nil) == self.scheduler.isEmpty, "somebody waits and is not served")
    }

    private mutating func serve(isEmpty: Bool) {
        guard let id = self.scheduler.next(), let circuit = self.circuits[id] else { return }
        precondition(circuit.isWaiting, "a circuit is served that has nothing")
        // Counts are powers of a rounded root: equals may differ in their last digits.
        let least = self.circuits.values.lazy.filter(\.isWaiting).map(\.recent).min() ?? 0
        precondition(circuit.recent <= least * 1.001 + 1e-9, "a busy circuit is served before a quiet one")
        self.scheduler.sent(id, cellCount: 1, isEmpty: isEmpty, now: self.now)
        self.circuits[id]?.recent += 1
        if isEmpty { self.circuits[id]?.isWaiting = false }
    }

    /// Time counts in eighths of a half-life, as it does for the scheduler.
    private mutating func pass(_ time: TimeAmount) {
        self.now = self.now + time
        let eighths = Int(time.nanoseconds / (Self.halfLife.nanoseconds / 8))
        var factor = 1.0
        for _ in 0..<min(eighths, 16_000) { factor /= 1.0905077326652577 }
        for id in self.circuits.keys { self.circuits[id]?.recent *= factor }
    }
}
