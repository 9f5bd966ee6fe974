import NIOConcurrencyHelpers
import NIOCore
import OnionCrypto

/// Counts the bytes of answers that connections have not taken yet, so that those who ask and do not read cannot fill memory.
/// When there are too many, the connection that has held some for longest makes way. Shared by all connections.
///
/// A quarter is for the ORs of the newest list, told by the link key that they proved, and the rest for strangers. Each may
/// use what the others leave, and gives it back when they need it: strangers that do not read keep no OR from the list.
///
/// - Complexity: O(1), and O(n) for n connections that hold bytes when one makes way.
final class AnswerBudget: Sendable {
    fileprivate struct Holder: Sendable {
        let linkKey: Ed25519PublicKey?
        let close: @Sendable () -> Void
        /// The turns in which the answers that wait were given, oldest first.
        var turns = CircularBuffer<UInt64>()
        var byteCount = 0
        /// It was told to close; what it holds is as good as free.
        var isLeaving = false
    }

    fileprivate struct State: Sendable {
        var listed: Set<Ed25519PublicKey> = []
        var holders: [ObjectIdentifier: Holder] = [:]
        var lastTurn: UInt64 = 0
        var byteCount = 0
    }

    private let limit: Int
    private let metrics: ServerMetrics
    private let state = NIOLockedValueBox(State())

    init(limit: Int, metrics: ServerMetrics) {
        self.limit = limit
        self.metrics = metrics
    }

    /// A new list is out: these are the link keys of its ORs.
    func listed(_ linkKeys: Set<Ed25519PublicKey>) { self.state.withLockedValue { $0.listed = linkKeys } }

    /// Count an answer in, unless it would not fit even if others made way; if it is in, ``give(_:from:)`` ends it. Those of a
    /// connection end in the order in which they were counted in.
    ///
    /// - Parameters:
    ///   - connection: is not used for another before all of its answers have ended.
    ///   - linkKey: what its peer proved, if anything.
    ///   - close: ends the connection, from anywhere, when it has to make way.
    func take(
        _ byteCount: Int, for connection: ObjectIdentifier, linkKey: Ed25519PublicKey?,
        close: @escaping @Sendable () -> Void
    ) -> Bool {
        let (isTaken, leaving) = self.state.withLockedValue { state in
            state.take(
                byteCount, for: connection, Holder(linkKey: linkKey, close: close),
                strangers: self.limit - self.limit / 4,
                all: self.limit)
        }
        for close in leaving {
            self.metrics.reached(.answerBytes)
            close()
        }
        if !isTaken { self.metrics.reached(.answerBytes) }
        return isTaken
    }

    func give(_ byteCount: Int, from connection: ObjectIdentifier) {
        self.state.withLockedValue { state in
            guard var holder = state.holders[connection] else { return }
            holder.turns.removeFirst()
            holder.byteCount -= byteCount
            if !holder.isLeaving { state.byteCount -= byteCount }
            state.holders[connection] = holder.turns.isEmpty ? nil : holder
        }
    }
}

extension AnswerBudget.State {
    /// - Returns: also what closes those that make way, to be called without the lock.
    fileprivate mutating func take(
        _ byteCount: Int, for connection: ObjectIdentifier, _ new: AnswerBudget.Holder, strangers: Int, all: Int
    ) -> (isTaken: Bool, leaving: [@Sendable () -> Void]) {
        var holder = self.holders[connection] ?? new
        guard !holder.isLeaving else { return (false, []) }
        var leaving: [@Sendable () -> Void] = []
        while self.byteCount + byteCount > all {
            let ofStrangers = self.holders.values.filter { !self.isListed($0) && !$0.isLeaving }
                .reduce(self.isListed(holder) ? 0 : byteCount) { $0 + $1.byteCount }
            // If strangers have no more than their part, then it is the ORs that have.
            let areStrangersToLeave = ofStrangers > strangers
            let longest = self.holders
                .filter {
                    $0.key != connection && !$0.value.isLeaving && self.isListed($0.value) != areStrangersToLeave
                }
                .min { ($0.value.turns.first ?? 0) < ($1.value.turns.first ?? 0) }
            guard let longest else { return (false, leaving) }
            self.holders[longest.key]?.isLeaving = true
            self.byteCount -= longest.value.byteCount
            leaving.append(longest.value.close)
        }
        self.lastTurn += 1
        holder.turns.append(self.lastTurn)
        holder.byteCount += byteCount
        self.holders[connection] = holder
        self.byteCount += byteCount
        return (true, leaving)
    }

    private func isListed(_ holder: AnswerBudget.Holder) -> Bool { holder.linkKey.map(self.listed.contains) ?? false }
}
