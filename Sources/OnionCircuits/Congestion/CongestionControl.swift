import DequeModule
public import NIOCore
public import OnionCrypto

/// The sender's half of a circuit's congestion control: how many cells may be in flight between client and last hop.
///
///                      queue > gamma, link blocked, increment small, or window at the slow start maximum
///     slow start ───────────────────────────────────────────────────────────────▶ avoidance
///         ▲                                                                            │
///         └── the window is small, and its queue empty or the path found to be longer ─┘   (not in proposal 324)
///
/// It owns the window, the tags of the SendMes that are due, and the round-trip times that these give. It does not own
/// the cells: the caller asks ``canSend`` before it makes a counted cell, and reports it with ``cellSent(tag:now:)``.
/// A counted cell is every cell to or from the last hop, except one made only of SendMe, XOff and XOn. When the
/// circuit becomes longer, its last hop is another one: start again with a new value.
///
/// - Invariant: `minimum ≤ window ≤ maximum`; as many tags are due as whole increments are in flight.
/// - Source: DESIGN §7; Tor proposal 324 §3.3 (Vegas), §3.1 (RTT and BDP); RFC 3742
public struct CongestionControl: Sendable {
    /// The receiver acknowledges each cell whose number is a multiple of this. A constant, so that both ends agree.
    public static let incrementCellCount = 32

    /// An RTT counts as at most this, so that products with it cannot overflow.
    static let longestRTT: Int64 = 3_600_000_000_000
    /// An RTT this many times the average tells of a clock or process that stood still, not of the network.
    static let jumpRatio: Int64 = 5000

    /// After this many SendMes a long RTT with a small window is believed to be the path's.
    static let longSmallLimit = 32

    private struct Due: Sendable {
        let tag: CellTag
        let sentAt: NIODeadline
        /// Cells in flight once it was sent.
        let inFlight: Int
    }

    public let parameters: CongestionParameters
    /// Cells that may be in flight.
    public private(set) var window: Int
    /// Counted cells sent and not acknowledged. May exceed the window after this has shrunk.
    public private(set) var inFlight = 0
    public private(set) var isInSlowStart = true
    /// The average round-trip time; zero before the first SendMe.
    public var smoothedRTT: TimeAmount { .nanoseconds(self.smoothedNanoseconds) }
    /// The least average seen, taken for the path without queues; zero before the first SendMe.
    public var minimumRTT: TimeAmount { .nanoseconds(self.minimumNanoseconds) }

    private var due = Deque<Due>()
    /// Cells sent since the last whole increment.
    private var sentInIncrement = 0
    private var smoothedNanoseconds: Int64 = 0
    private var minimumNanoseconds: Int64 = 0
    /// SendMes until the window is judged again, and until the use of the window is judged anew.
    private var untilUpdate = 0
    private var untilRoundEnd = 0
    private var isWindowUsed = false
    /// SendMes in a row with a long RTT though the window is small.
    private var longSmallCount = 0

    public init(parameters: CongestionParameters) {
        self.parameters = parameters
        self.window = parameters.initialWindow
    }

    /// Whether one more counted cell may be sent.
    public var canSend: Bool { self.inFlight < self.window }

    /// SendMes that have to come, in order of the cells that they acknowledge.
    public var dueSendMeCount: Int { self.due.count }

    /// Whether the next counted cell completes an increment, so that it must end in command 0 and at least 16 fresh
    /// random bytes. Otherwise a client that downloads its own file could compute the tag without receiving anything.
    public var nextCellCompletesIncrement: Bool { self.sentInIncrement == Self.incrementCellCount - 1 }

    /// Count a cell that was sent, in the order of encryption.
    ///
    /// The caller has asked ``canSend``: what comes without that is counted, and not refused.
    ///
    /// - Parameter tag: what the cipher returned for this cell.
    public mutating func cellSent(tag: CellTag, now: @autoclosure () -> NIODeadline) {
        self.inFlight += 1
        self.sentInIncrement += 1
        if self.sentInIncrement == Self.incrementCellCount {
            self.sentInIncrement = 0
            self.due.append(Due(tag: tag, sentAt: now(), inFlight: self.inFlight))
        }
    }

    /// Take the credit of a SendMe, and judge the window.
    ///
    /// - Parameter isLinkBlocked: whether the outgoing link takes no more at the moment, which counts as congestion.
    /// - Throws: the peer's fault: ``CircuitError/sendMeNotDue`` or ``CircuitError/sendMeTagWrong``; either destroys
    ///   the circuit.
    public mutating func sendMeReceived(
        tag: CellTag, now: NIODeadline, isLinkBlocked: Bool = false
    ) throws(CircuitError) {
        guard let due = self.due.popFirst() else { throw .sendMeNotDue }
        guard due.tag == tag else { throw .sendMeTagWrong }

        self.untilUpdate = max(0, self.untilUpdate - 1)
        self.untilRoundEnd = max(0, self.untilRoundEnd - 1)
        if self.takeRTT((now - due.sentAt).nanoseconds, inFlight: due.inFlight) {
            self.judgeUse()
            self.judgeWindow(isLinkBlocked: isLinkBlocked)
        }
        self.inFlight -= Self.incrementCellCount
    }

    // The window

    /// Cells that the path holds when no queue does: cells in flight · least RTT / RTT, averaged.
    ///
    /// Departure: the proposal takes the window as it is now. But the RTT is that of a cell sent a round trip ago, so
    /// that after an overshoot its window is cut again and again for the same queue, down to a fraction of the path.
    /// What was in flight when that very cell was sent belongs to its RTT.
    public private(set) var bandwidthDelayProduct = 0
    /// Cells that wait in queues, likewise: those in flight less those that the path holds.
    public private(set) var queuedCellCount = 0

    private mutating func judgeWindow(isLinkBlocked: Bool) {
        let path = self.bandwidthDelayProduct
        let queued = self.queuedCellCount
        let share = self.queueShare
        if self.isInSlowStart {
            if queued < self.parameters.gamma + 4 * share, !isLinkBlocked {
                if self.isWindowUsed { self.grow() }
            } else {
                self.setWindow(path + self.parameters.gamma)
                self.isInSlowStart = false
            }
            if self.window >= self.parameters.slowStartMaximum { self.isInSlowStart = false }
        } else if self.untilUpdate == 0 {
            // Departure: with shares, large windows move in larger steps, about 3 % in a round trip.
            let step = share == 0 ? 1 : max(1, self.window / 1024)
            if queued > self.parameters.delta + 4 * share {
                self.setWindow(path + self.parameters.delta + 4 * share - step)
            } else if queued > self.parameters.beta + share * 3 / 2 || isLinkBlocked {
                self.setWindow(self.window - step)
            } else if queued < self.parameters.alpha + share, self.isWindowUsed {
                if self.window == self.parameters.minimumWindow {
                    // Departure: after a stall or a change of route had brought the window down, one cell per update
                    // would take minutes to bring it up again.
                    self.isInSlowStart = self.window < self.parameters.slowStartMaximum
                }
                self.setWindow(self.window + step)
            }
        }
        if self.untilRoundEnd == 0 {
            self.untilRoundEnd = self.sendMesPerWindow
            self.isWindowUsed = false
        }
        if self.untilUpdate == 0 { self.untilUpdate = self.sendMesPerUpdate }
    }

    /// What the queue may hold beyond the fixed thresholds, in cells.
    private var queueShare: Int {
        let path = self.bandwidthDelayProduct
        // No overflow: fewer than 2^20 cells, at most 10^9 ns. The least average is 1 ns or more, as every RTT is.
        let delay = Int64(path) * self.parameters.queueDelay.nanoseconds / self.minimumNanoseconds
        return max(path * self.parameters.queuePercent / 100, Int(delay))
    }

    /// One step of slow start, limited as by RFC 3742.
    private mutating func grow() {
        let increment: Int
        if self.window <= self.parameters.slowStartCap {
            increment = Self.incrementCellCount
        } else {
            increment = max(1, Self.incrementCellCount * self.parameters.slowStartCap / (2 * self.window))
        }
        self.setWindow(self.window + increment)
        if increment * self.sendMesPerWindow <= CongestionParameters.updatesPerWindow { self.isInSlowStart = false }
    }

    private mutating func setWindow(_ window: Int) {
        self.window = min(max(window, self.parameters.minimumWindow), self.parameters.maximumWindow)
    }

    /// Note whether the circuit makes use of its window; one that does not must not grow it.
    private mutating func judgeUse() {
        // The gap is at most half a window, so that a small window is not always taken for a used one (departure).
        let gap = min(CongestionParameters.fullGapIncrements * Self.incrementCellCount, self.window / 2)
        if self.inFlight + gap >= self.window {
            self.isWindowUsed = true
        } else if self.inFlight * 100 < self.window * CongestionParameters.fullMinimumPercent {
            self.isWindowUsed = false
        }
    }

    private var sendMesPerWindow: Int {
        (self.window + Self.incrementCellCount / 2) / Self.incrementCellCount
    }

    private var sendMesPerUpdate: Int {
        let cells = CongestionParameters.updatesPerWindow * Self.incrementCellCount
        return (self.window + cells / 2) / cells
    }

    // Round-trip times

    /// Average in one round-trip time. Returns false for one that says nothing about the network.
    private mutating func takeRTT(_ sample: Int64, inFlight: Int) -> Bool {
        guard sample > 0 else { return false }
        let sample = min(sample, Self.longestRTT)
        guard self.smoothedNanoseconds > 0 else {
            self.smoothedNanoseconds = sample
            self.minimumNanoseconds = sample
            self.bandwidthDelayProduct = inFlight
            return true
        }
        // In slow start the average itself is not yet to be trusted.
        if !self.isInSlowStart, sample / Self.jumpRatio > self.smoothedNanoseconds { return false }

        let count = self.averageCount
        self.smoothedNanoseconds = Self.average(sample, self.smoothedNanoseconds, count)
        self.judgeMinimum()
        // No overflow: fewer than 2^20 cells, less than 2^42 ns.
        let path = min(inFlight, Int(Int64(inFlight) * self.minimumNanoseconds / sample))
        self.bandwidthDelayProduct = Int(Self.average(Int64(path), Int64(self.bandwidthDelayProduct), count))
        self.queuedCellCount = Int(Self.average(Int64(inFlight - path), Int64(self.queuedCellCount), count))
        return true
    }

    /// Keep the least average. It may rise when so few cells are in flight that the queue cannot be ours: the path itself
    /// has become longer.
    private mutating func judgeMinimum() {
        let isSmall = self.window <= self.parameters.minimumWindow + 2 * self.parameters.beta
        if self.smoothedNanoseconds < self.minimumNanoseconds
            || !self.isInSlowStart && self.window == self.parameters.minimumWindow
        {
            self.minimumNanoseconds = self.smoothedNanoseconds
            self.longSmallCount = 0
        } else if !self.isInSlowStart, isSmall, self.smoothedNanoseconds / 2 >= self.minimumNanoseconds {
            // Departure: the proposal waits for the minimum window. But with an RTT of twice the least, a window of
            // twice alpha seems to hold alpha waiting cells, and stays there for ever.
            self.longSmallCount += 1
            if self.longSmallCount == Self.longSmallLimit {
                self.longSmallCount = 0
                self.minimumNanoseconds = self.smoothedNanoseconds
                self.isInSlowStart = self.window < self.parameters.slowStartMaximum
            }
        } else {
            self.longSmallCount = 0
        }
    }

    /// The proposal's N_EWMA.
    private static func average(_ sample: Int64, _ average: Int64, _ count: Int64) -> Int64 {
        (2 * sample + (count - 1) * average) / (count + 1)
    }

    private var averageCount: Int64 {
        guard !self.isInSlowStart else { return Int64(CongestionParameters.averageInSlowStart) }
        let share = self.sendMesPerWindow * CongestionParameters.averagePercent / 100
        return Int64(min(max(share, 2), CongestionParameters.averageMaximum))
    }
}
