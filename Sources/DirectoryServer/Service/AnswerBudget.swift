import NIOConcurrencyHelpers

/// Counts the bytes of answers that connections have not taken yet, so that those who ask and do not read cannot fill memory.
/// Shared by all connections.
final class AnswerBudget: Sendable {
    private let limit: Int
    private let metrics: ServerMetrics
    private let byteCount = NIOLockedValueBox(0)

    init(limit: Int, metrics: ServerMetrics) {
        self.limit = limit
        self.metrics = metrics
    }

    /// Count an answer in, unless too much waits; if it is in, ``give(_:)`` ends it.
    func take(_ byteCount: Int) -> Bool {
        let isTaken = self.byteCount.withLockedValue { sum in
            guard sum + byteCount <= self.limit else { return false }
            sum += byteCount
            return true
        }
        if !isTaken { self.metrics.reached(.answerBytes) }
        return isTaken
    }

    func give(_ byteCount: Int) { self.byteCount.withLockedValue { $0 -= byteCount } }
}
