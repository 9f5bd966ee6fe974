import NIOCore
import OnionCells
import OnionCircuits

/// What one circuit's queue on a link has gained and lost in a while, in bytes.
package struct QueueTraffic: Equatable, Sendable {
    package var added = 0
    package var removed = 0

    package init(added: Int = 0, removed: Int = 0) {
        self.added = added
        self.removed = removed
    }
}

/// What a link has still to send: the batch of this turn, and, while the connection takes no more, one queue a circuit.
///
/// While the connection is writable and nothing waits, cells go straight into the batch. Otherwise they wait in their
/// circuit's queue, and ``CircuitScheduler`` says who is next, quiet circuits first.
///
/// - Invariant: a circuit has a queue exactly while it has cells in it, so the order of its cells holds.
/// - Source: DESIGN §7 *Link*, §8
struct OutgoingCells {
    /// Where a cell went that was appended.
    enum Appended: Equatable {
        /// Into the batch, which had some and has room for more.
        case more
        /// Into the batch, as its first.
        case first
        /// Into the batch, which is full now.
        case full
        /// Into its circuit's queue, which may now be longer than allowed.
        case queued(isOverLimit: Bool)
    }

    /// Cells about the link itself that may wait: a peer that pings and never reads is closed beyond it.
    static let linkCellLimit = 64
    /// A circuit whose queue is at or below this has room for more of its maker's cells.
    static let roomBelow = 8

    /// What a queue's buffer may always take, however little waits in it.
    static let keptQueueByteCount = 64 * 1024

    /// Circuits without waiting cells whose recent cells are remembered.
    static let rememberedLimit = 1024

    /// After this long a cell counts half against its circuit.
    static let halfLife = TimeAmount.seconds(10)

    /// Whether the connection takes nothing at present. Kept by the link.
    var isBlocked = true {
        didSet { if self.isBlocked != oldValue { self.countConnection() } }
    }
    /// What the connection counts for at present: what it may hold while it takes no more, so that peers who do not read
    /// cannot have that for nothing.
    private(set) var connectionByteCount = 0
    /// How large a batch may be, and what the connection holds. Kept by the link.
    var buffers = LinkBuffers.small
    var limits: LinkLimits
    private var batch = ByteBuffer()
    /// How large the last batch was: the next begins with room for as much, so that it neither grows step by step nor takes
    /// a bulk transfer's memory for a single cell.
    private var expectedByteCount = 0
    private var queues: [CircuitID: ByteBuffer] = [:]
    private var scheduler: CircuitScheduler<CircuitID>
    private(set) var queuedByteCount = 0
    /// What the queues have gained and lost since it was last asked.
    private var traffic: [CircuitID: QueueTraffic] = [:]

    init(limits: LinkLimits, now: NIODeadline = .now()) {
        self.limits = limits
        self.scheduler = CircuitScheduler(halfLife: Self.halfLife, now: now)
    }

    private mutating func countConnection() {
        // Before the first time that it takes anything there is nothing in it.
        guard self.isBlocked != (self.connectionByteCount > 0) else { return }
        if self.isBlocked {
            self.connectionByteCount = self.buffers.blockedByteCount
            self.traffic[.link, default: QueueTraffic()].added += self.connectionByteCount
        } else {
            self.traffic[.link, default: QueueTraffic()].removed += self.connectionByteCount
            self.connectionByteCount = 0
        }
    }

    var batchByteCount: Int { self.batch.readableBytes }

    func backlog(of circuit: CircuitID) -> Int { (self.queues[circuit]?.readableBytes ?? 0) / Cell.byteCount }

    /// Append one cell that `fill` writes.
    mutating func append(circuit: CircuitID, fill: (inout MutableRawSpan) -> Void) -> Appended {
        if !self.isBlocked && self.queues.isEmpty {
            self.prepareBatch()
            // In two steps: with `self` in hand the batch would be shared, and each cell copy it.
            let byteCount = self.batch.appendCell(fill)
            return self.batched(byteCount)
        }
        let byteCount = self.queues[circuit, default: ByteBuffer()].appendCell(fill)
        return .queued(isOverLimit: self.queued(circuit, byteCount))
    }

    /// Append one cell that was read; otherwise as ``append(circuit:fill:)``.
    mutating func append(circuit: CircuitID, cell: RawSpan) -> Appended {
        if !self.isBlocked && self.queues.isEmpty {
            self.prepareBatch()
            let byteCount = self.batch.appendCell(cell)
            return self.batched(byteCount)
        }
        let byteCount = self.queues[circuit, default: ByteBuffer()].appendCell(cell)
        return .queued(isOverLimit: self.queued(circuit, byteCount))
    }

    /// Append cells of any circuits, in order.
    mutating func append(batch cells: ByteBuffer, overflowed: inout [CircuitID]) {
        if !self.isBlocked && self.queues.isEmpty {
            if self.batch.readableBytes == 0 { self.batch = cells } else { self.batch.writeImmutableBuffer(cells) }
            return
        }
        let span = cells.readableBytesSpan
        for start in stride(from: 0, to: span.byteCount, by: Cell.byteCount) {
            let cell = span.extracting(start..<start + Cell.byteCount)
            let circuit = CellHeader(of: cell).circuitID
            let byteCount = self.queues[circuit, default: ByteBuffer()].appendCell(cell)
            if self.queued(circuit, byteCount), overflowed.last != circuit { overflowed.append(circuit) }
        }
    }

    private mutating func prepareBatch() {
        guard self.batch.capacity == 0 else { return }
        self.batch.reserveCapacity(self.expectedByteCount)
    }

    private func batched(_ byteCount: Int) -> Appended {
        if byteCount >= self.buffers.fullBatchByteCount { return .full }
        return byteCount == Cell.byteCount ? .first : .more
    }

    /// Count a cell whose queue now holds `byteCount`.
    ///
    /// - Returns: whether that is more than is allowed.
    private mutating func queued(_ circuit: CircuitID, _ byteCount: Int) -> Bool {
        self.queuedByteCount += Cell.byteCount
        self.traffic[circuit, default: QueueTraffic()].added += Cell.byteCount
        if byteCount == Cell.byteCount { self.scheduler.enqueued(circuit) }
        return self.isOverLimit(circuit, cellCount: byteCount / Cell.byteCount)
    }

    /// Whether more cells of the circuit wait than are allowed.
    func isOverLimit(_ circuit: CircuitID) -> Bool {
        self.isOverLimit(circuit, cellCount: self.backlog(of: circuit))
    }

    private func isOverLimit(_ circuit: CircuitID, cellCount: Int) -> Bool {
        if circuit == .link { return cellCount > Self.linkCellLimit }
        return cellCount > self.limits.queuedCellsPerCircuit
            || (self.queuedByteCount > self.limits.queuedCellsPerLink * Cell.byteCount && cellCount > self.fairShare)
    }

    /// With the link's total spent, a circuit with more than its part of it has to go. There are queues then.
    private var fairShare: Int { self.limits.queuedCellsPerLink / self.queues.count }

    /// Move waiting cells into the batch until it is full.
    ///
    /// - Parameter drained: gets the circuits that have room again.
    /// - Returns: whether the batch has anything to write.
    mutating func fillBatch(now: NIODeadline, drained: inout [CircuitID]) -> Bool {
        while self.batch.readableBytes < self.buffers.fullBatchByteCount, let circuit = self.scheduler.next() {
            if self.moveCells(of: circuit, now: now) { drained.append(circuit) }
        }
        return self.batch.readableBytes > 0
    }

    /// Move a cell into the batch, after which it may be another circuit's turn; with no other there, all that fit.
    ///
    /// - Returns: whether the circuit has room again that had none, or has nothing left.
    private mutating func moveCells(of circuit: CircuitID, now: NIODeadline) -> Bool {
        guard let index = self.queues.index(forKey: circuit) else {
            self.scheduler.removed(circuit)
            return false
        }
        let before = self.queues.values[index].readableBytes
        let room = self.buffers.fullBatchByteCount - self.batch.readableBytes
        let byteCount = self.scheduler.waitingCount == 1 ? min(before, room) : Cell.byteCount
        let left = before - byteCount
        if left == 0, self.batch.readableBytes == 0 {
            // The queue becomes the batch.
            self.batch = self.queues.remove(at: index).value
        } else {
            self.prepareBatch()
            Self.move(byteCount, from: &self.queues.values[index], to: &self.batch)
            if left == 0 { self.queues.remove(at: index) }
        }
        self.queuedByteCount -= byteCount
        self.traffic[circuit, default: QueueTraffic()].removed += byteCount
        self.scheduler.sent(circuit, cellCount: byteCount / Cell.byteCount, isEmpty: left == 0, now: now)
        let most = Self.roomBelow * Cell.byteCount
        return left == 0 || (before > most && left <= most)
    }

    private static func move(_ byteCount: Int, from queue: inout ByteBuffer, to batch: inout ByteBuffer) {
        if var cells = queue.readSlice(length: byteCount) { batch.writeBuffer(&cells) }
        // Give back what was read, now and then: a queue that is never empty would keep all that it ever held.
        if queue.readerIndex >= max(LinkBuffers.large.fullBatchByteCount, queue.readableBytes) {
            queue.discardReadBytes()
        }
    }

    /// How many circuits have cells waiting.
    var waitingCircuitCount: Int { self.queues.count }

    /// Memory that the queues hold, whether cells are in it or not.
    var reservedByteCount: Int { self.queues.values.reduce(0) { $0 + $1.capacity } }

    /// Whether queues have gained or lost anything since ``takeTraffic()``.
    var hasTraffic: Bool { !self.traffic.isEmpty }

    mutating func takeTraffic() -> [CircuitID: QueueTraffic] {
        defer { self.traffic = [:] }
        return self.traffic
    }

    /// Whether cells wait in queues.
    var hasWaiting: Bool { !self.queues.isEmpty }

    /// Hand the batch over for writing; of one that is larger than a full one, made by another loop, as much as that.
    mutating func takeBatch() -> ByteBuffer? {
        guard self.batch.readableBytes > 0 else { return nil }
        self.expectedByteCount = min(self.batch.readableBytes, self.buffers.fullBatchByteCount)
        if self.batch.readableBytes > self.expectedByteCount {
            return self.batch.readSlice(length: self.expectedByteCount)
        }
        let batch = self.batch
        self.batch = ByteBuffer()
        return batch
    }

    mutating func discardBatch() { self.batch = ByteBuffer() }

    /// The link is closed: forget everything, and let cells pass through the batch for ``discardBatch()`` to drop.
    mutating func discardAll(now: NIODeadline = .now()) {
        self.isBlocked = false
        self.batch = ByteBuffer()
        for (circuit, queue) in self.queues {
            self.traffic[circuit, default: QueueTraffic()].removed += queue.readableBytes
        }
        self.queues = [:]
        self.queuedByteCount = 0
        self.scheduler = CircuitScheduler(halfLife: Self.halfLife, now: now)
    }

    mutating func drop(_ circuit: CircuitID) {
        guard let queue = self.queues.removeValue(forKey: circuit) else { return }
        self.queuedByteCount -= queue.readableBytes
        self.traffic[circuit, default: QueueTraffic()].removed += queue.readableBytes
        self.scheduler.removed(circuit)
    }

    /// Called now and then.
    mutating func releaseIdleMemory(now: NIODeadline = .now()) {
        // A queue that was long once and is never empty keeps its buffer, and only what waits in it is counted.
        for (circuit, queue) in self.queues
        where queue.capacity > max(Self.keptQueueByteCount, 4 * queue.readableBytes) {
            self.queues[circuit] = ByteBuffer(bytes: queue.readableBytesView)
        }
        // Circuits that have long ended are remembered for what they sent; start anew before they become many.
        guard self.scheduler.count > self.queues.count + Self.rememberedLimit else { return }
        self.scheduler = CircuitScheduler(halfLife: Self.halfLife, now: now)
        for circuit in self.queues.keys { self.scheduler.enqueued(circuit) }
    }
}
