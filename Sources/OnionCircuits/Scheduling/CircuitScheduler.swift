public import NIOCore

/// Chooses which circuit of a link sends next: the one that has sent least of late, so that a keystroke is not behind
/// somebody's download.
///
/// Per circuit it keeps an exponentially weighted count of cells sent: a cell counts half after `halfLife`. Instead of
/// shrinking all counts as time passes, new cells count more; all are scaled down together once that factor has become
/// large (as in C Tor's `circuitmux_ewma.c`). Order is kept by a binary heap of those circuits that have cells waiting.
///
/// It holds no cells. The caller says ``enqueued(_:)`` when a circuit has something waiting, takes ``next()``, sends
/// some of that circuit's cells and says ``sent(_:cellCount:isEmpty:now:)``. Nothing is allocated per cell.
///
/// - Complexity: O(log n) for each operation, n being the waiting circuits; scaling is O(n) once per 40 half-lives.
/// - Source: DESIGN §7 *Link*; Tang & Goldberg, "An improved algorithm for Tor circuit scheduling" (2010)
public struct CircuitScheduler<ID: Hashable & Sendable>: Sendable {
    private struct Entry: Sendable {
        let id: ID
        /// Cells, each times the factor of its time.
        var weight: Double
        /// The order of waiting, to serve equals in turn.
        var turn: UInt64
        /// Index in the heap; -1 when nothing waits.
        var place: Int
    }

    private static var ticksPerHalfLife: Int64 { 8 }
    private static var halfLivesPerScaling: Int64 { 40 }

    private var entries: [Entry] = []
    private var free: [Int] = []
    private var indices: [ID: Int] = [:]
    private var heap: [Int] = []
    private var nextTurn: UInt64 = 0

    private let tick: Int64
    private var epoch: NIODeadline
    /// 2^(ticks since the epoch / ticks per half-life), and for which tick that is.
    private var factor: Double = 1
    private var factorTick: Int64 = 0
    private static var stepsWithinHalfLife: [Double] {
        [
            1, 1.0905077326652577, 1.189207115002721, 1.2968395546510096, 1.4142135623730951, 1.5422108254079407,
            1.681792830507429, 1.8340080864093424,
        ]
    }
    private let steps = Self.stepsWithinHalfLife

    /// - Parameter halfLife: after which a cell counts half; at least a millisecond.
    public init(halfLife: TimeAmount, now: NIODeadline) {
        self.tick = max(halfLife.nanoseconds, 1_000_000) / Self.ticksPerHalfLife
        self.epoch = now
    }

    /// Whether no circuit waits.
    public var isEmpty: Bool { self.heap.isEmpty }
    /// How many circuits wait.
    public var waitingCount: Int { self.heap.count }
    /// How many circuits are remembered.
    public var count: Int { self.indices.count }

    /// Note that cells of the circuit wait. Without effect when it waits already.
    public mutating func enqueued(_ id: ID) {
        let index = self.index(of: id)
        guard self.entries[index].place < 0 else { return }
        self.entries[index].turn = self.takeTurn()
        self.entries[index].place = self.heap.count
        self.heap.append(index)
        self.siftUp(self.heap.count - 1)
    }

    /// The circuit to serve, or nil when none waits. It stays where it is until ``sent(_:cellCount:isEmpty:now:)``.
    public func next() -> ID? {
        guard let index = self.heap.first else { return nil }
        return self.entries[index].id
    }

    /// Count cells sent for the circuit.
    ///
    /// A link counts only those that have waited: while it takes everything no order matters, and a circuit that has
    /// sent much begins at 0 when it is blocked.
    ///
    /// - Parameter isEmpty: whether nothing more of the circuit waits.
    public mutating func sent(_ id: ID, cellCount: Int, isEmpty: Bool, now: NIODeadline) {
        self.advance(now: now)
        let index = self.index(of: id)
        self.entries[index].weight += Double(cellCount) * self.factor
        let place = self.entries[index].place
        guard place >= 0 else { return }
        if isEmpty {
            self.removeFromHeap(place)
        } else {
            self.entries[index].turn = self.takeTurn()
            self.siftDown(place)
        }
    }

    /// Forget the circuit.
    public mutating func removed(_ id: ID) {
        guard let index = self.indices.removeValue(forKey: id) else { return }
        if self.entries[index].place >= 0 { self.removeFromHeap(self.entries[index].place) }
        self.free.append(index)
    }

    /// What the circuit's recent cells count now; 0 if it is not known.
    public mutating func recentCells(of id: ID, now: NIODeadline) -> Double {
        self.advance(now: now)
        guard let index = self.indices[id] else { return 0 }
        return self.entries[index].weight / self.factor
    }

    // Time

    private mutating func advance(now: NIODeadline) {
        let ticks = (now - self.epoch).nanoseconds / self.tick
        // A clock that goes back changes nothing.
        guard ticks > self.factorTick else { return }
        if ticks < Self.halfLivesPerScaling * Self.ticksPerHalfLife {
            self.factor = self.power(ticks)
            self.factorTick = ticks
        } else {
            self.scale(by: self.power(ticks))
            self.epoch = now
            self.factor = 1
            self.factorTick = 0
        }
    }

    /// 2^(ticks / ticks per half-life), at most 2^1000.
    private func power(_ ticks: Int64) -> Double {
        let halfLives = min(ticks / Self.ticksPerHalfLife, 1000)
        let step = self.steps[Int(ticks % Self.ticksPerHalfLife)]
        return Double(sign: .plus, exponent: Int(halfLives), significand: step)
    }

    /// Divide all counts; the order stays.
    private mutating func scale(by divisor: Double) {
        for index in self.entries.indices { self.entries[index].weight /= divisor }
    }

    // The heap

    private mutating func takeTurn() -> UInt64 {
        self.nextTurn &+= 1
        return self.nextTurn
    }

    private mutating func index(of id: ID) -> Int {
        if let index = self.indices[id] { return index }
        let entry = Entry(id: id, weight: 0, turn: 0, place: -1)
        let index: Int
        if let reused = self.free.popLast() {
            index = reused
            self.entries[index] = entry
        } else {
            index = self.entries.count
            self.entries.append(entry)
        }
        self.indices[id] = index
        return index
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        let a = self.entries[left]
        let b = self.entries[right]
        return (a.weight, a.turn) < (b.weight, b.turn)
    }

    private mutating func place(_ index: Int, at place: Int) {
        self.heap[place] = index
        self.entries[index].place = place
    }

    private mutating func siftUp(_ start: Int) {
        var place = start
        let moving = self.heap[place]
        while place > 0 {
            let parent = (place - 1) / 2
            guard self.isBefore(moving, self.heap[parent]) else { break }
            self.place(self.heap[parent], at: place)
            place = parent
        }
        self.place(moving, at: place)
    }

    private mutating func siftDown(_ start: Int) {
        var place = start
        let moving = self.heap[place]
        while true {
            var child = 2 * place + 1
            guard child < self.heap.count else { break }
            if child + 1 < self.heap.count, self.isBefore(self.heap[child + 1], self.heap[child]) { child += 1 }
            guard self.isBefore(self.heap[child], moving) else { break }
            self.place(self.heap[child], at: place)
            place = child
        }
        self.place(moving, at: place)
    }

    private mutating func removeFromHeap(_ place: Int) {
        self.entries[self.heap[place]].place = -1
        let last = self.heap.removeLast()
        guard place < self.heap.count else { return }
        self.place(last, at: place)
        self.siftDown(place)
        self.siftUp(self.entries[last].place)
    }
}
