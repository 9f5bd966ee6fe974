public import OnionCells

/// What a circuit remembers of the ids of its streams: which were used, and which may still get late messages.
///
/// Ids are never reused, so this is needed to tell three things apart for a message whose stream is not in the table:
/// a stream that we ended while the peer was still sending (dropped), one that the peer has ended itself, and one that
/// never was (both end the circuit).
///
/// - Source: DESIGN §6.3
public struct StreamRegister: Sendable, Equatable {
    /// More words than this, beyond those that ids in a row fill, no honest client makes: its ids count up from 1.
    static let spareWordLimit = 64

    private var used = StreamIDSet()
    private var endedHereOnly = StreamIDSet()
    private var nextID: UInt16 = 1

    public init() {}

    /// How many ids were used.
    public var usedCount: Int { self.used.count }

    /// What the memory of ids costs, in words of ``StreamIDSet``.
    var wordCount: Int { self.used.wordCount + self.endedHereOnly.wordCount }

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
    /// - Parameter peerEnded: ``StreamLifecycle/hasPeerEnded`` at that moment; for a Resolve whether it was answered.
    public mutating func ended(_ id: StreamID, peerEnded: Bool) {
        if !peerEnded { self.endedHereOnly.insert(id) }
    }

    /// A message came for a stream that is not in the table. Returns if it is to be dropped.
    ///
    /// - Throws: ``CircuitError/streamUnknown(_:)`` for a stream that never was; ``CircuitError/messageAfterEnd(_:)``
    ///   for Data or Connected on one that the peer itself has ended. Other messages are always dropped: XOff and XOn
    ///   speak of our data, which may have been in flight after the peer's End, and an End may cross ours, or follow a
    ///   Finished.
    public func lateMessage(_ command: RelayCommand, on id: StreamID) throws(CircuitError) {
        guard self.used.contains(id) else { throw .streamUnknown(id) }
        switch command {
        case .xOff, .xOn, .end: return
        case .data, .connected, .resolved:
            guard self.endedHereOnly.contains(id) else { throw .messageAfterEnd(command) }
        case .begin, .resolve: throw .streamIDReused(id)
        case .sendMe, .extend, .extended, .truncated, .drop: throw .messageNotAllowed(command)
        }
    }
}
