import NIOCore
import OnionCircuits
import TestSupport

/// The rules of proposal 324 and of our departures from it, written once more, as plainly as they can be: what
/// ``CongestionControl`` is compared with. Times are nanoseconds.
struct VegasModel {
    struct Judgement: Equatable {
        var window: Int
        var isInSlowStart = true
        var average = 0
        var least = 0
        var path = 0
        var queued = 0
    }

    let parameters: CongestionParameters
    var state: Judgement
    var inFlight = 0
    private var sent = 0
    private var due: [(at: Int, inFlight: Int)] = []
    private var untilUpdate = 0
    private var untilRoundEnd = 0
    private var isUsed = false
    private var longSmallCount = 0

    init(_ parameters: CongestionParameters) {
        self.parameters = parameters
        self.state = Judgement(window: parameters.initialWindow)
    }

    var isSendMeDue: Bool { !self.due.isEmpty }

    mutating func cellSent(at now: Int) {
        self.inFlight += 1
        self.sent += 1
        if self.sent % 32 == 0 { self.due.append((now, self.inFlight)) }
    }

    mutating func sendMeReceived(at now: Int, isLinkBlocked: Bool) {
        let cell = self.due.removeFirst()
        self.takeRTT(now - cell.at, inFlight: cell.inFlight)
        self.untilUpdate -= self.untilUpdate > 0 ? 1 : 0
        self.untilRoundEnd -= self.untilRoundEnd > 0 ? 1 : 0

        let gap = self.state.window < 256 ? self.state.window / 2 : 128
        let idle = self.state.window - self.inFlight
        if idle <= gap { self.isUsed = true }
        if idle > gap, self.inFlight * 4 < self.state.window { self.isUsed = false }

        if self.state.isInSlowStart {
            self.slowStart(isLinkBlocked: isLinkBlocked)
        } else if self.untilUpdate == 0 {
            self.avoidance(isLinkBlocked: isLinkBlocked)
        }
        if self.untilRoundEnd == 0 {
            self.untilRoundEnd = self.increments
            self.isUsed = false
        }
        if self.untilUpdate == 0 { self.untilUpdate = (self.state.window + 512) / 1024 }
        self.inFlight -= 32
    }

    /// Increments in a window.
    private var increments: Int { (self.state.window + 16) / 32 }

    /// What may wait besides the fixed numbers.
    private var share: Int {
        let percent = self.state.path * self.parameters.queuePercent / 100
        let delay = self.state.path * Int(self.parameters.queueDelay.nanoseconds) / self.state.least
        return percent > delay ? percent : delay
    }

    private mutating func set(_ window: Int) {
        let range = self.parameters.minimumWindow...self.parameters.maximumWindow
        self.state.window = window < range.lowerBound ? range.lowerBound : window
        if self.state.window > range.upperBound { self.state.window = range.upperBound }
    }

    private mutating func slowStart(isLinkBlocked: Bool) {
        if isLinkBlocked || self.state.queued >= self.parameters.gamma + 4 * self.share {
            self.set(self.state.path + self.parameters.gamma)
            self.state.isInSlowStart = false
        } else if self.isUsed {
            var increment = 32
            if self.state.window > self.parameters.slowStartCap {
                increment = 16 * self.parameters.slowStartCap / self.state.window
                if increment == 0 { increment = 1 }
            }
            self.set(self.state.window + increment)
            if increment * self.increments < 33 { self.state.isInSlowStart = false }
        }
        if self.state.window >= self.parameters.slowStartMaximum { self.state.isInSlowStart = false }
    }

    private mutating func avoidance(isLinkBlocked: Bool) {
        let share = self.share
        let step = share > 0 && self.state.window >= 2048 ? self.state.window / 1024 : 1
        let drop = self.parameters.delta + 4 * share
        if self.state.queued > drop {
            self.set(self.state.path + drop - step)
        } else if isLinkBlocked || self.state.queued > self.parameters.beta + share * 3 / 2 {
            self.set(self.state.window - step)
        } else if self.isUsed, self.state.queued < self.parameters.alpha + share {
            if self.state.window == self.parameters.minimumWindow { self.enterSlowStart() }
            self.set(self.state.window + step)
        }
    }

    private mutating func enterSlowStart() {
        self.state.isInSlowStart = self.state.window < self.parameters.slowStartMaximum
    }

    private mutating func takeRTT(_ sample: Int, inFlight: Int) {
        guard self.state.average > 0 else {
            (self.state.average, self.state.least, self.state.path) = (sample, sample, inFlight)
            return
        }
        // An average is over half of a window's SendMes, from 2 to 10; in slow start over 2.
        var count = 2
        if !self.state.isInSlowStart, self.increments >= 6 { count = self.increments >= 20 ? 10 : self.increments / 2 }
        func average(_ new: Int, _ old: Int) -> Int { (2 * new + (count - 1) * old) / (count + 1) }

        self.state.average = average(sample, self.state.average)
        self.judgeLeast()
        var path = inFlight * self.state.least / sample
        if path > inFlight { path = inFlight }
        self.state.path = average(path, self.state.path)
        self.state.queued = average(inFlight - path, self.state.queued)
    }

    private mutating func judgeLeast() {
        let isSmall = self.state.window <= self.parameters.minimumWindow + 2 * self.parameters.beta
        let isLeast = self.state.window == self.parameters.minimumWindow
        if self.state.average < self.state.least { self.believe() }
        guard !self.state.isInSlowStart else {
            self.longSmallCount = 0
            return
        }
        if isLeast { self.believe() }
        guard isSmall, self.state.average / 2 >= self.state.least else {
            self.longSmallCount = 0
            return
        }
        self.longSmallCount += 1
        if self.longSmallCount == 32 {
            self.believe()
            self.enterSlowStart()
        }
    }

    /// Take the average for the path without queues.
    private mutating func believe() {
        self.state.least = self.state.average
        self.longSmallCount = 0
    }
}

extension VegasModel {
    /// Small numbers of all that tunes it, so that what happens is often just at a limit.
    static func parameters(_ random: inout SplitMix64) throws -> CongestionParameters {
        let minimum = 32 + random.below(2) * random.below(40)
        let initial = minimum + [0, 1, 33, 1024, 2500][random.below(5)]
        let maximum = initial + [0, 1, 100, 4000][random.below(4)]
        let alpha = 1 + random.below(20)
        let beta = alpha + random.below(20)
        let delta = beta + random.below(20)
        return try CongestionParameters(
            initialWindow: initial, minimumWindow: minimum, maximumWindow: maximum, alpha: alpha, beta: beta,
            gamma: 1 + random.below(20), delta: delta, slowStartCap: [32, 64, initial, 500][random.below(4)],
            slowStartMaximum: [minimum, initial, 200, 16_384][random.below(4)],
            queuePercent: [0, 0, 10, 100][random.below(4)],
            queueDelay: .nanoseconds([0, 0, 0, 5][random.below(4)]))
    }
}

extension SplitMix64 {
    mutating func below(_ count: Int) -> Int { Int(self.next() % UInt64(count)) }
}
