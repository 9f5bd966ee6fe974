import NIOCore
import OnionCircuits

/// The handshake queue beside a queue a link.
struct WatchedHandshakes: WatchedMachine {
    private struct Waiting {
        let number: Int
        let since: NIODeadline
    }

    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var queue: HandshakeQueue<Int, Int>
    private let limits: HandshakeQueue<Int, Int>.Limits
    private var waiting: [Int: [Waiting]] = [:]
    private var lastNumber = 0
    /// How often others were served while a link waited.
    private var passedOver: [Int: Int] = [:]

    init(limits: UInt8) {
        self.limits = .init(total: Int(limits >> 3), perLink: Int(limits >> 5), patience: .milliseconds(100))
        self.queue = HandshakeQueue(limits: self.limits)
    }

    mutating func play(_ event: UInt8, _ value: Int) {
        let link = value & 7
        switch event & 3 {
        case 0:
            self.lastNumber += 1
            let own = self.waiting[link]?.count ?? 0
            let isRoom = self.queue.count < self.limits.total && own < self.limits.perLink
            precondition(self.queue.enqueue(self.lastNumber, from: link, now: self.now) == isRoom, "a limit is another")
            if isRoom { self.waiting[link, default: []].append(Waiting(number: self.lastNumber, since: self.now)) }
        case 1: self.take()
        case 2:
            self.queue.removeAll(from: link)
            self.waiting[link] = nil
            self.passedOver[link] = nil
        default: self.now = self.now + .milliseconds(Int64(value))
        }
        let count = self.waiting.values.reduce(0) { $0 + $1.count }
        precondition(self.queue.count == count && self.queue.isEmpty == (count == 0), "handshakes are counted wrongly")
    }

    private mutating func take() {
        let number: Int
        let isDropped: Bool
        switch self.queue.next(now: self.now) {
        case nil: return precondition(self.waiting.isEmpty, "a handshake waits for ever")
        case .run(let element): (number, isDropped) = (element, false)
        case .dropped(let element): (number, isDropped) = (element, true)
        }
        guard let link = self.waiting.first(where: { $0.value.first?.number == number })?.key,
            let first = self.waiting[link]?.removeFirst()
        else { preconditionFailure("a handshake comes before its turn in its own link") }
        precondition(isDropped == (self.now > first.since + self.limits.patience), "patience is another")
        if self.waiting[link]?.isEmpty == true { self.waiting[link] = nil }
        self.passedOver[link] = 0
        // A dropped one takes nobody's turn.
        for other in self.waiting.keys where other != link && !isDropped {
            self.passedOver[other, default: 0] += 1
            precondition(self.passedOver[other] ?? 0 <= 8, "a link waits while others are served twice")
        }
        for link in self.passedOver.keys where self.waiting[link] == nil { self.passedOver[link] = nil }
    }
}

/// The ledger of all queues beside their sums, and the age of each byte.
struct WatchedLedger: WatchedMachine {
    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var ledger: QueueLedger<Int>
    private var queues: [Int: [(byteCount: Int, since: NIODeadline)]] = [:]

    init(ceiling: Int) { self.ledger = QueueLedger(ceiling: ceiling) }

    mutating func play(_ event: UInt8, _ value: Int) {
        let key = value & 7
        switch event & 3 {
        case 0:
            self.ledger.added(value, to: key, now: self.now)
            if value > 0 { self.queues[key, default: []].append((value, self.now)) }
        case 1:
            let held = self.queues[key]?.reduce(0) { $0 + $1.byteCount } ?? 0
            let count = min(held, value)
            self.ledger.removed(count, from: key, now: self.now)
            self.remove(count, from: key)
        case 2:
            guard let victim = self.ledger.victim else { break }
            precondition(self.queues[victim] != nil, "a queue goes that holds nothing")
            let held = self.queues.removeValue(forKey: victim)?.reduce(0) { $0 + $1.byteCount }
            precondition(self.ledger.forget(victim) == held, "a queue that goes held something else")
        default: self.now = self.now + .milliseconds(Int64(value))
        }
        var sum = 0
        for key in 0..<8 {
            let held = self.queues[key]?.reduce(0) { $0 + $1.byteCount } ?? 0
            precondition(self.ledger.byteCount(of: key) == held, "a queue holds something else")
            sum += held
        }
        precondition(self.ledger.byteCount == sum, "all queues hold something else")
        precondition(self.ledger.isOverCeiling == (sum > self.ledger.ceiling), "the ceiling is another")
        precondition((self.ledger.victim == nil) == !self.ledger.isOverCeiling, "nobody has to go, and somebody does")
    }

    private mutating func remove(_ byteCount: Int, from key: Int) {
        var left = byteCount
        while left > 0, let first = self.queues[key]?.first {
            let taken = min(left, first.byteCount)
            left -= taken
            self.queues[key]?[0].byteCount -= taken
            if taken == first.byteCount { self.queues[key]?.removeFirst() }
        }
        if self.queues[key]?.isEmpty == true { self.queues[key] = nil }
    }
}

/// A token bucket beside a sum that is never more than the rate allows.
struct WatchedBucket: WatchedMachine {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var now: NIODeadline
    private var bucket: TokenBucket
    private var taken = 0

    init(ratePerSecond: Int, burst: Int) {
        self.now = self.start
        self.bucket = TokenBucket(ratePerSecond: ratePerSecond, burst: burst, now: self.start)
    }

    mutating func play(_ event: UInt8, _ value: Int) {
        let before = self.bucket.available(now: self.now)
        precondition(before >= 0 && before <= self.bucket.burst, "a bucket holds more than it can")
        switch event & 3 {
        case 0:
            let isTaken = self.bucket.take(value, now: self.now)
            precondition(isTaken == (value <= before), "tokens are refused that are there, or given that are not")
            if isTaken { self.taken += value }
        case 1:
            guard let deadline = self.bucket.deadline(for: value, now: self.now) else {
                precondition(value > self.bucket.burst || self.bucket.ratePerSecond == 0, "tokens never come")
                break
            }
            precondition(deadline >= self.now, "tokens came before now")
            var later = self.bucket
            precondition(later.take(value, now: deadline), "tokens are not there when they were to be")
        case 2: self.now = self.now + .microseconds(Int64(value))
        default: self.now = self.now + .milliseconds(Int64(value) * 16)
        }
        let elapsed = (self.now - self.start).nanoseconds
        let allowed = Int64(self.bucket.burst) + Int64(self.bucket.ratePerSecond) * elapsed / 1_000_000_000
        precondition(Int64(self.taken) <= allowed, "more tokens were taken than the rate gives")
    }
}
