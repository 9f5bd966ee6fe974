public import NIOCore

/// Decides when to tell the far end of a stream to pause (XOff) and to go on (XOn). Unit: bytes not yet taken by the
/// socket.
///
///               buffered > high, 50 ms after the last XOff
///     flowing ──────────────────────────────────────────────▶ paused
///        ▲                                                       │
///        └───────────────────────────────────────────────────────┘
///               buffered ≤ low
///
/// An event that finds its distance not yet kept is answered with ``Action/wait(until:)``: call ``timerFired(now:)`` then.
///
/// Departure: in DESIGN XOn waits until 50 ms after XOff, too. A reader that keeps up but for a millisecond now and then
/// would stand still for 50: a third of a fast download.
///
/// - Invariant: XOff and XOn alternate, XOff first; one XOff is never less than 50 ms after another; `low < high`, so
///   that one byte never makes both.
/// - Source: DESIGN §7 *Stream*; Tor proposal 324 §4
public struct StreamGate: Sendable, Equatable {
    /// An XOff is at least this long after the last.
    public static let minimumDistance = TimeAmount.milliseconds(50)

    public struct Limits: Sendable, Equatable {
        /// XOff goes out when more than this is buffered, XOn when at most `low` is.
        public let high: Int
        public let low: Int
        /// What the peer may have had in flight when XOff reached it: the largest congestion window, in bytes.
        public let inFlight: Int

        /// In place of `high` until there is a socket: what may come behind Begin before the exit is connected.
        public let whileOpening: Int

        /// Limits are moved to the nearest valid ones: `1 ≤ high`, `0 ≤ low < high`, `0 ≤ inFlight`,
        /// `0 ≤ whileOpening ≤ high`; the last is `high` if not given.
        public init(high: Int, low: Int, inFlight: Int, whileOpening: Int? = nil) {
            self.high = max(1, high)
            self.low = min(max(0, low), self.high - 1)
            self.inFlight = max(0, inFlight)
            self.whileOpening = min(max(0, whileOpening ?? self.high), self.high)
        }

        /// What each of a circuit's many streams may have: from 32 of them on less, from 64 on a quarter. They share the
        /// circuit's window, so none of them needs all of it.
        ///
        /// - Parameter streamCount: streams of the circuit, itself included.
        public func shared(by streamCount: Int) -> Limits {
            let divisor = min(4, max(1, streamCount / 16))
            return Limits(
                high: self.high / divisor, low: self.low / divisor, inFlight: self.inFlight,
                whileOpening: self.whileOpening)
        }
    }

    public enum Action: Sendable, Equatable {
        case none
        case sendXOff
        /// Send XOn with the rate at which the socket takes bytes, in kB/s.
        case sendXOn(drainRate: UInt32)
        /// Call ``StreamGate/timerFired(now:)`` at this time.
        case wait(until: NIODeadline)
    }

    public let limits: Limits
    /// Bytes that the socket has not taken.
    public private(set) var bufferedByteCount = 0
    public private(set) var isPaused = false
    /// Whether there is no socket yet: the lower limit holds, and nothing is resumed.
    public private(set) var isOpening: Bool
    private var pausedAt: NIODeadline?
    private var isWaiting = false
    /// Bytes received since XOff; what the peer sends past it.
    private var receivedSinceXOff = 0
    private var drainedSinceXOff = 0

    public init(limits: Limits, isOpening: Bool = false) {
        self.limits = limits
        self.isOpening = isOpening
    }

    /// The socket is there.
    public mutating func opened(now: NIODeadline) -> Action {
        self.isOpening = false
        return self.judge(now: now)
    }

    /// Data came for the socket.
    ///
    /// - Throws: ``CircuitError/dataPastXOff`` when the peer has sent more since XOff than can have been in flight.
    public mutating func dataReceived(byteCount: Int, now: NIODeadline) throws(CircuitError) -> Action {
        self.bufferedByteCount += byteCount
        if self.isPaused {
            self.receivedSinceXOff += byteCount
            guard self.receivedSinceXOff <= self.limits.inFlight else { throw .dataPastXOff }
        }
        return self.judge(now: now)
    }

    /// The socket took bytes.
    public mutating func dataDrained(byteCount: Int, now: NIODeadline) -> Action {
        assert(byteCount <= self.bufferedByteCount, "more drained than received")
        self.bufferedByteCount = max(0, self.bufferedByteCount - byteCount)
        if self.isPaused { self.drainedSinceXOff += byteCount }
        return self.judge(now: now)
    }

    /// The time of a ``Action/wait(until:)`` has come.
    public mutating func timerFired(now: NIODeadline) -> Action {
        self.isWaiting = false
        return self.judge(now: now)
    }

    private mutating func judge(now: NIODeadline) -> Action {
        let high = self.isOpening ? self.limits.whileOpening : self.limits.high
        let isDue =
            self.isPaused ? !self.isOpening && self.bufferedByteCount <= self.limits.low : self.bufferedByteCount > high
        guard isDue else { return .none }
        if self.isPaused {
            self.isPaused = false
            return .sendXOn(drainRate: self.drainRate(now: now))
        }
        if let last = self.pausedAt, now < last + Self.minimumDistance {
            guard !self.isWaiting else { return .none }
            self.isWaiting = true
            return .wait(until: last + Self.minimumDistance)
        }
        self.isPaused = true
        self.pausedAt = now
        self.receivedSinceXOff = 0
        self.drainedSinceXOff = 0
        return .sendXOff
    }

    private func drainRate(now: NIODeadline) -> UInt32 {
        guard let pausedAt else { return 0 }
        let milliseconds = max(1, (now - pausedAt).nanoseconds / 1_000_000)
        return UInt32(clamping: Int64(self.drainedSinceXOff) / milliseconds)
    }
}
