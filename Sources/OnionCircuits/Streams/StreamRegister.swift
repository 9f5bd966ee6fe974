public import OnionCells

/// What a circuit remembers of the ids of its streams: which were used, and which may still get late messages.
///
/// Ids are never reused, so this is needed to tell three things apart for a message whose stream is not in the table:
/// a stream that we ended while the peer was still sending (dropped), one that the peer has ended itself, and one that
/// never was (both end the circuit).
///
/// What is dropped is bounded, so that a peer cannot send what nobody sees for as long as it likes: what was in flight
/// when our End left has come after a window of cells.
///
/// - Source: DESIGN §6.3
public struct StreamRegister: Sendable, Equatable {
    /// More words than this, beyond those that ids in a row fill, no honest client makes: its ids count up from 1.
    static let spareWordLimit = 64
    /// Counted cells that come, at most, until the peer knows of our last End: those in flight, and as many for the
    /// answers that had their turn to wait for.
    static let lateCellLimit = 2 * CongestionParameters.largestMaximum
    /// XOff and XOn that may have been in flight on one stream when it ended, and on all streams of a circuit: their
    /// cells are in no window.
    static let lateFlowControlLimit = XOffState.burst
    static let lateFlowControlLimitInAll = Self.streamsEndedAtOnce * XOffState.burst
    private static let streamsEndedAtOnce = 256

    private var used = StreamIDSet()
    private var endedHereOnly = StreamIDSet()
    /// Those that have had an End other than Finished since we ended them.
    private var givenUp = StreamIDSet()
    private var nextID: UInt16 = 1
    /// Streams that have left the table and have still to say so.
    public private(set) var waitingCount = 0
    /// Counted cells that had come when the last of the others ended.
    private var cellCountAtEnd = 0
    private var lateFlowControlLeft = 0

    public init() {}

    /// How many ids were used.
    public var usedCount: Int { self.used.count }

    /// What the memory of ids costs, in words of ``StreamIDSet``.
    var wordCount: Int { self.used.wordCount + self.endedHereOnly.wordCount + self.givenUp.wordCount }

    /// Client: return an id never used in this circuit, or nil when all are spent and the circuit must be retired.
    public mutating func allocate() -> StreamID? {
        guard self.nextID != 0 else { return nil }
        let id = StreamID(rawValue: self.nextID)
        self.nextID &+= 1
        self.used.insert(id)
        return id
    }

    /// Exit: note the id of a Begin or Resolve.
    ///
    /// - Throws: ``CircuitError/streamIDReused(_:)``, or ``CircuitError/messageNotAllowed(_:)`` where ids are strewn so
    ///   wide that remembering them would cost far more than their number; the peer's fault.
    public mutating func begin(_ id: StreamID) throws(CircuitError) {
        guard self.used.insert(id) else { throw .streamIDReused(id) }
        guard self.used.spareWordCount <= Self.spareWordLimit else { throw .messageNotAllowed(.begin) }
    }

    /// Note that the stream left the table.
    ///
    /// - Parameters:
    ///   - peerEnded: ``StreamLifecycle/hasPeerEnded`` at that moment; for a Resolve whether it was answered.
    ///   - isWaiting: whether its last messages have still to leave; ``saidAll(cellCount:)`` follows.
    ///   - cellCount: ``SendMeReceiver/cellCount``.
    public mutating func ended(_ id: StreamID, peerEnded: Bool, isWaiting: Bool = false, cellCount: Int) {
        if !peerEnded { self.endedHereOnly.insert(id) }
        if isWaiting { self.waitingCount += 1 }
        self.cellCountAtEnd = cellCount
        self.lateFlowControlLeft = min(
            self.lateFlowControlLeft + Self.lateFlowControlLimit, Self.lateFlowControlLimitInAll)
    }

    /// The last messages of a stream that had left the table have left.
    public mutating func saidAll(cellCount: Int) {
        self.waitingCount -= 1
        self.cellCountAtEnd = cellCount
    }

    /// A message other than End came for a stream that is not in the table. Returns if it is to be dropped.
    ///
    /// - Throws: ``CircuitError/streamUnknown(_:)`` for a stream that never was; ``CircuitError/messageAfterEnd(_:)``
    ///   for Data or an answer on one that the peer itself has ended, or so late that the peer must know of our End;
    ///   ``CircuitError/xOffStorm`` for more XOff and XOn than can have been in flight. These may follow the peer's own
    ///   End: they speak of our data.
    public mutating func lateMessage(
        _ command: RelayCommand, on id: StreamID, cellCount: Int
    ) throws(CircuitError) {
        guard self.used.contains(id) else { throw .streamUnknown(id) }
        switch command {
        case .xOff, .xOn:
            guard self.lateFlowControlLeft > 0 else { throw .xOffStorm }
            self.lateFlowControlLeft -= 1
        case .data, .connected, .resolved:
            let isInTime = self.waitingCount > 0 || cellCount - self.cellCountAtEnd <= Self.lateCellLimit
            guard isInTime, self.endedHereOnly.contains(id) else { throw .messageAfterEnd(command) }
        case .begin, .resolve: throw .streamIDReused(id)
        case .end, .sendMe, .extend, .extended, .truncated, .drop: throw .messageNotAllowed(command)
        }
    }

    /// An End came for a stream that is not in the table. Returns if it is to be dropped: it may have crossed ours, and
    /// a Finished another one behind it.
    ///
    /// - Throws: ``CircuitError/streamUnknown(_:)``; ``CircuitError/messageAfterEnd(_:)`` for a Finished after any End,
    ///   and for a second End that is none.
    public mutating func lateEnd(_ reason: EndReason, on id: StreamID) throws(CircuitError) {
        guard self.used.contains(id) else { throw .streamUnknown(id) }
        let isFirst = self.endedHereOnly.remove(id)
        guard reason == .finished ? isFirst : self.givenUp.insert(id) else { throw .messageAfterEnd(.end) }
    }
}
