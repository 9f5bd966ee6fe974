package import NIOCore

/// Decides when a link is asked whether it still lives, given up as frozen, or closed because nobody uses it.
///
/// A frozen peer keeps its TCP connection alive, so silence is the only sign. A link without circuits is not watched,
/// only timed.
///
///     quiet < 1 s ── tick ──▶ nothing        quiet ≥ 1 s ── tick ──▶ ping       quiet ≥ 2.5 s ── tick ──▶ frozen
///
/// Both times are network parameters; these are the defaults.
///
/// - Source: DESIGN §5.1 *A frozen peer*, §5 (60 s without a circuit)
package struct LinkLiveness: Sendable {
    package enum Action: Equatable, Sendable { case none, sendPing, closeFrozen, closeUnused }

    /// The longest and the shortest time between two calls of ``tick(now:circuitCount:)``.
    package static let longestTickInterval = TimeAmount.milliseconds(500)
    package static let shortestTickInterval = TimeAmount.milliseconds(5)

    /// How long a link without a circuit stays, and after how much silence one with circuits is pinged or given up.
    package private(set) var unusedAfter: TimeAmount
    package private(set) var pingAfter: TimeAmount
    package private(set) var frozenAfter: TimeAmount
    private var lastReceived: NIODeadline
    private var lastUsed: NIODeadline
    private var lastTick: NIODeadline
    private var pinged = false

    package init(
        now: NIODeadline, unusedAfter: TimeAmount = .seconds(60), pingAfter: TimeAmount = .seconds(1),
        frozenAfter: TimeAmount = .milliseconds(2500)
    ) {
        self.unusedAfter = unusedAfter
        self.pingAfter = pingAfter
        self.frozenAfter = frozenAfter
        self.lastReceived = now
        self.lastUsed = now
        self.lastTick = now
    }

    /// How often ``tick(now:circuitCount:)`` is to be called: often enough to find either silence in half its time.
    package var tickInterval: TimeAmount {
        let half = TimeAmount.nanoseconds(min(self.pingAfter, self.frozenAfter).nanoseconds / 2)
        return max(Self.shortestTickInterval, min(Self.longestTickInterval, half))
    }

    /// The network's times have changed; what has been counted so far counts on.
    package mutating func update(_ limits: LinkLimits) {
        self.unusedAfter = limits.unusedAfter
        self.pingAfter = limits.pingAfter
        self.frozenAfter = limits.frozenAfter
    }

    /// Anything at all came from the peer.
    package mutating func received(now: NIODeadline) {
        self.lastReceived = now
        self.pinged = false
    }

    package mutating func tick(now: NIODeadline, circuitCount: Int) -> Action {
        defer { self.lastTick = now }
        // We were the ones that stood still (suspended, or starved of CPU): what the peer sent waits to be read.
        if now - self.lastTick > self.tickInterval * 3 {
            self.lastReceived = now
            self.pinged = false
        }
        guard circuitCount > 0 else {
            // Silence counts from the first circuit on.
            self.lastReceived = now
            self.pinged = false
            return now - self.lastUsed >= self.unusedAfter ? .closeUnused : .none
        }
        self.lastUsed = now
        let quiet = now - self.lastReceived
        if quiet >= self.frozenAfter { return .closeFrozen }
        guard quiet >= self.pingAfter, !self.pinged else { return .none }
        self.pinged = true
        return .sendPing
    }
}
