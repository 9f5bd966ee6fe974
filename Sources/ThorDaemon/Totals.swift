internal import CoreMetrics
internal import NIOConcurrencyHelpers

/// Keeps the counters of the process in memory, for ``TotalsReport``: totals alone, no series and no dimensions.
///
/// Counters of one label are one. What else metrics know (recorders, timers) is not kept: nothing of ours makes any.
final class Totals: MetricsFactory {
    private final class Total: CounterHandler {
        private let count = NIOLockedValueBox<Int64>(0)

        func increment(by amount: Int64) {
            self.count.withLockedValue { count in
                let (sum, overflow) = count.addingReportingOverflow(amount)
                count = overflow ? .max : sum
            }
        }

        func reset() { self.count.withLockedValue { $0 = 0 } }
        var value: Int64 { self.count.withLockedValue { $0 } }
    }

    private let totals = NIOLockedValueBox<[String: Total]>([:])

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        self.totals.withLockedValue { totals in
            if let total = totals[label] { return total }
            let total = Total()
            totals[label] = total
            return total
        }
    }

    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        NOOPMetricsHandler.instance
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { NOOPMetricsHandler.instance }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}

    /// What has been counted so far, by label, rounded; without what is zero.
    var rounded: [String: Int64] {
        self.totals.withLockedValue { $0.mapValues { Self.rounded($0.value) } }.filter { $0.value > 0 }
    }

    /// Round up to two digits, and to ten at least: nobody's single circuit shows.
    static func rounded(_ value: Int64) -> Int64 {
        guard value > 0 else { return 0 }
        var unit: Int64 = 10
        while value / unit >= 100 { unit *= 10 }
        let (up, overflow) = ((value - 1) / unit + 1).multipliedReportingOverflow(by: unit)
        return overflow ? .max : up
    }
}
