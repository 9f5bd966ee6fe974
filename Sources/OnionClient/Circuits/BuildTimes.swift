import NIOCore

/// Learns from the circuits that were built how long a build takes here, and so when one is slow and when it is hopeless.
///
/// A fixed time-out is too long for a fast network, where a dead router then costs seconds, and too short for a slow one,
/// where every build would get a competitor. Pure.
///
///     fewer than 12 builds ──▶ the network's limit, and the client's own idea of slow
///     12 builds or more    ──▶ slow: twice the 80th percentile; hopeless: six times it; both within bounds
///     8 time-outs in a row ──▶ everything is forgotten: the network has changed
///
/// - Invariant: slow ≤ hopeless ≤ the network's limit.
/// - Source: DESIGN §10; the idea is C Tor's circuit build time-out, without its distribution
struct BuildTimes: Sendable, Equatable {
    /// Builds that are remembered; the oldest makes way.
    static let capacity = 100
    /// Builds from which something can be learned.
    static let enough = 12
    /// Time-outs in a row that make what was learned worthless.
    static let timeOutLimit = 8
    /// Below this a build is not slow, and no other is begun beside it, however fast the rest was.
    static let shortestSlow = TimeAmount.milliseconds(300)
    /// Below this a build is not given up.
    static let shortestLimit = TimeAmount.milliseconds(1500)

    private var recent: [Int64] = []
    private var next = 0
    private var timeOutCount = 0

    /// A circuit was complete after `time`.
    mutating func built(in time: TimeAmount) {
        self.timeOutCount = 0
        if self.recent.count < Self.capacity {
            self.recent.append(time.nanoseconds)
        } else {
            self.recent[self.next] = time.nanoseconds
            self.next = (self.next + 1) % Self.capacity
        }
    }

    /// A circuit was given up for taking too long.
    mutating func timedOut() {
        self.timeOutCount += 1
        guard self.timeOutCount >= Self.timeOutLimit else { return }
        self = BuildTimes()
    }

    /// Of five builds, four were faster than this; nil while there are too few.
    var usual: TimeAmount? {
        guard self.recent.count >= Self.enough else { return nil }
        return .nanoseconds(self.recent.sorted()[self.recent.count * 4 / 5])
    }

    /// After how long a build is given up.
    ///
    /// - Parameter network: the network parameter `circuit-build-timeout-ms`.
    func limit(network: TimeAmount) -> TimeAmount {
        guard let usual else { return network }
        return min(network, max(Self.shortestLimit, usual * 6))
    }

    /// After how long a build that somebody waits for gets a competitor.
    ///
    /// - Parameters:
    ///   - initial: the answer until something is known.
    ///   - network: the network parameter `circuit-build-timeout-ms`.
    func slow(initial: TimeAmount, network: TimeAmount) -> TimeAmount {
        guard let usual else { return min(initial, network) }
        return min(self.limit(network: network), max(Self.shortestSlow, usual * 2))
    }
}
