public import NIOCore

/// Lets events through at a steady rate, with bursts.
///
/// Counts billionths of a token, so that no rounding is lost however often it is asked.
///
/// - Source: DESIGN §6.3 (streams per second), §7 (Creates per second)
public struct TokenBucket: Sendable {
    private static let nano: Int64 = 1_000_000_000
    /// Rates and bursts are at most this, so that no product overflows.
    public static let largest = 1_000_000_000

    public let ratePerSecond: Int
    public let burst: Int
    private var nanoTokens: Int64
    private var updatedAt: NIODeadline

    /// Make a full bucket. Values out of `0...largest` are moved into it; a burst is at least 1.
    public init(ratePerSecond: Int, burst: Int, now: NIODeadline) {
        self.ratePerSecond = min(max(ratePerSecond, 0), Self.largest)
        self.burst = min(max(burst, 1), Self.largest)
        self.nanoTokens = Int64(self.burst) * Self.nano
        self.updatedAt = now
    }

    /// Take `count` tokens, or none if there are not so many.
    public mutating func take(_ count: Int = 1, now: NIODeadline) -> Bool {
        self.refill(now: now)
        guard count <= self.burst else { return false }
        let price = Int64(max(0, count)) * Self.nano
        guard price <= self.nanoTokens else { return false }
        self.nanoTokens -= price
        return true
    }

    /// Whole tokens that there are at `now`.
    public mutating func available(now: NIODeadline) -> Int {
        self.refill(now: now)
        return Int(self.nanoTokens / Self.nano)
    }

    /// When `count` tokens will be there; nil if never.
    public mutating func deadline(for count: Int = 1, now: NIODeadline) -> NIODeadline? {
        self.refill(now: now)
        guard count <= self.burst else { return nil }
        let missing = Int64(max(0, count)) * Self.nano - self.nanoTokens
        guard missing > 0 else { return now }
        guard self.ratePerSecond > 0 else { return nil }
        let rate = Int64(self.ratePerSecond)
        return now + .nanoseconds((missing - 1) / rate + 1)
    }

    private mutating func refill(now: NIODeadline) {
        // A clock that goes back gives nothing, and takes nothing.
        guard now > self.updatedAt else { return }
        let elapsed = (now - self.updatedAt).nanoseconds
        self.updatedAt = now
        let (gain, overflow) = elapsed.multipliedReportingOverflow(by: Int64(self.ratePerSecond))
        let full = Int64(self.burst) * Self.nano
        self.nanoTokens = overflow || gain >= full - self.nanoTokens ? full : self.nanoTokens + gain
    }
}
