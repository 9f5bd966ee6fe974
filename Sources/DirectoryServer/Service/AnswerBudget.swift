import NIOConcurrencyHelpers

/// Counts the bytes of answers that connections have not taken yet, so that those who ask and do not read cannot fill memory.
/// Shared by all connections.
///
/// An eighth is kept for small answers: consensuses that are not read must not keep an OR's heartbeats from being answered.
final class AnswerBudget: Sendable {
    /// Every answer but a consensus has at most so many.
    static let smallByteCount = 1024

    private let limit: Int
    private let metrics: ServerMetrics
    private let byteCount = NIOLockedValueBox(0)

    init(limit: Int, metrics: ServerMetrics) {
        self.limit = limit
        self.metrics = metrics
    }

    /// Count an answer in, unless too much waits; if it is in, ``give(_:)`` ends it.
    func take(_ byteCount: Int) -> Bool {
        let limit = byteCount <= Self.smallByteCount ? self.limit : self.limit - self.limit / 8
        let isTaken = self.byteCount.withLockedValue { sum in
            guard sum + byteCount <= limit else { return false }
            sum += byteCount
            return true
        }
        if !isTaken { self.metrics.reached(.answerBytes) }
        return isTaken
    }

    func give(_ byteCount: Int) { self.byteCount.withLockedValue { $0 -= byteCount } }
}
