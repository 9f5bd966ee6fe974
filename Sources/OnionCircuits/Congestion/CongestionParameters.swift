public import NIOCore

/// What tunes ``CongestionControl``. From the consensus; counts are in cells unless they say otherwise.
///
/// The defaults are those of Tor proposal 324 for circuits to an exit, divided by four where they count cells
/// (ours are four times larger), so that they stand for the same bytes.
///
/// - Source: DESIGN §7; Tor proposal 324 §6.5
public struct CongestionParameters: Equatable, Sendable {
    /// No window is larger, whatever the consensus says.
    public static let largestMaximum = 16_384
    /// No window is smaller: with less, no SendMe would ever be due.
    public static let smallestMinimum = CongestionControl.incrementCellCount

    /// The window at the start, and the range that it stays in.
    public let initialWindow: Int
    public let minimumWindow: Int
    public let maximumWindow: Int
    /// Vegas thresholds on the cells that wait in queues: below alpha the window grows, above beta it shrinks.
    public let alpha: Int
    public let beta: Int
    /// Slow start ends when more than gamma cells wait.
    public let gamma: Int
    /// Above delta the window drops at once to what the path holds, plus delta.
    public let delta: Int
    /// Up to this window slow start doubles it in a round trip; above, it adds at most half of this (RFC 3742).
    public let slowStartCap: Int
    /// Slow start ends at this window.
    public let slowStartMaximum: Int

    /// What the queue may hold besides, in percent of what the path holds: once this for alpha, 1½ times for beta, four
    /// times for gamma and delta. 0 is the proposal's rule. Not in the proposal: a fixed number of cells that is a whole
    /// round trip's worth on a slow path is less than the noise on a fast one. As it is added to the fixed number,
    /// circuits that share a bottleneck still tend to equal windows, and no queue grows past half a round trip.
    public let queuePercent: Int
    /// What the queue may hold besides, as the time that the path takes for it, where that is more than ``queuePercent``.
    /// Not in the proposal: on a fast path a fixed number of cells, and any share of a round trip, is less than what one
    /// read of each router takes, so that routers would work in turns and in small batches. On a slow one this is nothing.
    public let queueDelay: TimeAmount

    /// Updates per window outside slow start, each of one cell.
    static let updatesPerWindow = 32
    /// How far below the window the cells in flight may be for it to count as used, in increments.
    static let fullGapIncrements = 4
    /// Below this share of the window it counts as not used.
    static let fullMinimumPercent = 25
    /// RTTs are averaged over this share of a window's SendMes, at most this many; in slow start over few.
    static let averagePercent = 50
    static let averageMaximum = 10
    static let averageInSlowStart = 2

    /// Which rule of DESIGN §7 parameters break.
    public enum Fault: String, Equatable, Sendable {
        case windowsOutOfOrder, thresholdsOutOfOrder, slowStartCapOutOfRange, queuePercentOutOfRange
        case queueDelayOutOfRange

        var advice: String {
            switch self {
            case .windowsOutOfOrder: "choose 32 ≤ minimum ≤ initial ≤ maximum ≤ 16384 for the congestion window"
            case .thresholdsOutOfOrder: "choose 0 < alpha ≤ beta ≤ delta ≤ 16384 and 0 < gamma ≤ 16384"
            case .slowStartCapOutOfRange: "choose a slow start cap and maximum from 32 to 16384"
            case .queuePercentOutOfRange: "choose a queue share from 0 to 100 percent"
            case .queueDelayOutOfRange: "choose a queue delay from 0 to 1 s"
            }
        }
    }

    /// Check and keep the parameters.
    ///
    /// - Throws: ``CircuitError/parametersInvalid(_:)``.
    public init(
        initialWindow: Int = 32, minimumWindow: Int = 32, maximumWindow: Int = largestMaximum, alpha: Int = 46,
        beta: Int = 62, gamma: Int = 46, delta: Int = 77, slowStartCap: Int = 150, slowStartMaximum: Int = 1250,
        queuePercent: Int = 0, queueDelay: TimeAmount = .zero
    ) throws(CircuitError) {
        guard
            Self.smallestMinimum <= minimumWindow, minimumWindow <= initialWindow, initialWindow <= maximumWindow,
            maximumWindow <= Self.largestMaximum
        else { throw .parametersInvalid(.windowsOutOfOrder) }
        guard
            0 < alpha, alpha <= beta, beta <= delta, delta <= Self.largestMaximum, 0 < gamma,
            gamma <= Self.largestMaximum
        else { throw .parametersInvalid(.thresholdsOutOfOrder) }
        let slowStartRange = CongestionControl.incrementCellCount...Self.largestMaximum
        guard slowStartRange.contains(slowStartCap), slowStartRange.contains(slowStartMaximum) else {
            throw .parametersInvalid(.slowStartCapOutOfRange)
        }
        guard (0...100).contains(queuePercent) else { throw .parametersInvalid(.queuePercentOutOfRange) }
        guard (.zero ... .seconds(1)).contains(queueDelay) else { throw .parametersInvalid(.queueDelayOutOfRange) }
        self.queuePercent = queuePercent
        self.queueDelay = queueDelay
        self.initialWindow = initialWindow
        self.minimumWindow = minimumWindow
        self.maximumWindow = maximumWindow
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.delta = delta
        self.slowStartCap = slowStartCap
        self.slowStartMaximum = slowStartMaximum
    }

    private init(
        unchecked initialWindow: Int, gamma: Int, delta: Int, slowStartCap: Int, slowStartMaximum: Int,
        queuePercent: Int, queueDelay: TimeAmount
    ) {
        self.initialWindow = initialWindow
        self.minimumWindow = 32
        self.maximumWindow = Self.largestMaximum
        self.alpha = 46
        self.beta = 62
        self.gamma = gamma
        self.delta = delta
        self.slowStartCap = slowStartCap
        self.slowStartMaximum = slowStartMaximum
        self.queuePercent = queuePercent
        self.queueDelay = queueDelay
    }

    /// A quarter of proposal 324's numbers, and nothing of our own.
    public static let proposal324 = CongestionParameters(
        unchecked: 32, gamma: 46, delta: 77, slowStartCap: 150, slowStartMaximum: 1250, queuePercent: 0,
        queueDelay: .zero)

    /// What fills paths from 1 MB/s to 50 MB/s and up to 300 ms within some ten round trips, by simulation; and those of
    /// one machine, by measurement.
    public static let wideRange = CongestionParameters(
        unchecked: 256, gamma: 100, delta: 100, slowStartCap: largestMaximum, slowStartMaximum: largestMaximum,
        queuePercent: 12, queueDelay: .milliseconds(3))
}
