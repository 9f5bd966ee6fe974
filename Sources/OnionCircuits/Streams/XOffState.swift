public import NIOCore

/// The sender's side of a stream's XOff and XOn: whether the peer lets us send.
///
///     flowing ──xOffReceived──▶ paused ──xOnReceived──▶ flowing
///
/// An XOff while paused and an XOn while flowing are the peer's fault, and so are more of them than the minimum distance
/// of 50 ms between XOffs allows, with room for those that a stalled link delivers at once.
///
/// - Source: DESIGN §7 *Stream*
public struct XOffState: Sendable {
    /// Forty a second, an XOff and an XOn each, is what ``StreamGate/minimumDistance`` allows; the burst is what a link that
    /// was silent for 2.5 s, when it would have been closed, can hold, and a bit.
    static let ratePerSecond = 40
    static let burst = 128

    /// Whether no Data may be sent on the stream.
    public private(set) var isPaused = false
    /// What the peer last said its socket takes, in kB/s. For information: the window decides.
    public private(set) var drainRate: UInt32?
    private var storm: TokenBucket?

    public init() {}

    /// XOff came: pause.
    ///
    /// - Throws: ``CircuitError/xOffOutOfTurn`` or ``CircuitError/xOffStorm``; the peer's fault.
    public mutating func xOffReceived(now: NIODeadline) throws(CircuitError) {
        guard !self.isPaused else { throw .xOffOutOfTurn }
        try self.count(now: now)
        self.isPaused = true
    }

    /// XOn came: go on.
    ///
    /// - Throws: as ``xOffReceived(now:)``.
    public mutating func xOnReceived(drainRate: UInt32, now: NIODeadline) throws(CircuitError) {
        guard self.isPaused else { throw .xOffOutOfTurn }
        try self.count(now: now)
        self.isPaused = false
        self.drainRate = drainRate
    }

    private mutating func count(now: NIODeadline) throws(CircuitError) {
        if self.storm == nil {
            self.storm = TokenBucket(ratePerSecond: Self.ratePerSecond, burst: Self.burst, now: now)
        }
        guard self.storm?.take(now: now) == true else { throw .xOffStorm }
    }
}
