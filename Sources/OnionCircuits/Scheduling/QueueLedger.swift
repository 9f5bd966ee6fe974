public import NIOCore

/// Knows what every queue of the process holds, and names the one to give up when all of them together hold too much:
/// the one with the oldest bytes.
///
/// An owner reports its circuit's queues (cells, stream buffers, optimistic data) in batches, not by the cell. Ages are
/// estimated without a time per byte: a mark is set at the end of the queue, and once what was removed has passed it,
/// all that is left is younger than the mark. So a busy queue that is never empty does not look old.
///
/// - Complexity: O(1) for reports; O(queues) to find a victim, which ends one queue each time.
/// - Source: DESIGN §7 *A process-wide ceiling*
public struct QueueLedger<Key: Hashable & Sendable>: Sendable {
    private struct Queue: Sendable {
        var added = 0
        var removed = 0
        /// Nothing in the queue is older than this.
        var oldest: NIODeadline
        /// When the mark was set, and what had been added by then.
        var markedAt: NIODeadline
        var mark = 0

        var byteCount: Int { self.added - self.removed }
    }

    /// In bytes; changes with the network's parameters.
    public var ceiling: Int
    public private(set) var byteCount = 0
    private var queues: [Key: Queue] = [:]

    /// - Parameter ceiling: in bytes.
    public init(ceiling: Int) { self.ceiling = ceiling }

    /// Whether the queues hold more than they may.
    public var isOverCeiling: Bool { self.byteCount > self.ceiling }

    /// How much the queue holds.
    public func byteCount(of key: Key) -> Int { self.queues[key]?.byteCount ?? 0 }

    /// Note bytes that were added to a queue. The caller then asks ``isOverCeiling``, once for all that it reports.
    public mutating func added(_ byteCount: Int, to key: Key, now: NIODeadline) {
        guard byteCount > 0 else { return }
        var queue = self.queues[key] ?? Queue(oldest: now, markedAt: now)
        queue.added += byteCount
        self.queues[key] = queue
        self.byteCount += byteCount
    }

    /// Note bytes that left a queue.
    public mutating func removed(_ byteCount: Int, from key: Key, now: NIODeadline) {
        guard var queue = self.queues[key] else { return }
        assert(byteCount <= queue.byteCount, "more removed than added")
        let byteCount = min(byteCount, queue.byteCount)
        self.byteCount -= byteCount
        queue.removed += byteCount
        guard queue.byteCount > 0 else {
            self.queues[key] = nil
            return
        }
        if queue.removed >= queue.mark {
            queue.oldest = queue.markedAt
            queue.markedAt = now
            queue.mark = queue.added
        }
        self.queues[key] = queue
    }

    /// Forget a queue and what it holds; returns how much that was.
    @discardableResult
    public mutating func forget(_ key: Key) -> Int {
        guard let queue = self.queues.removeValue(forKey: key) else { return 0 }
        self.byteCount -= queue.byteCount
        return queue.byteCount
    }

    /// The queue with the oldest bytes if the ceiling is passed; of equally old ones the largest.
    ///
    /// Its owner destroys its circuit, then says ``forget(_:)``; until then it stays the victim.
    public var victim: Key? {
        guard self.isOverCeiling else { return nil }
        return self.queues.min { left, right in
            (left.value.oldest, right.value.byteCount) < (right.value.oldest, left.value.byteCount)
        }?.key
    }
}
