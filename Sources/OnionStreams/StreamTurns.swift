import DequeModule
import NIOCore
import OnionCells

/// The streams of a circuit that have something to say, and which of them fills the next cell.
///
/// They take turns of many cells: more at once is less work for whoever takes them out again. One that is new, or has
/// been silent for a while, goes ahead of the others for a few cells, so that a key press, or the answer to a small
/// request, does not wait until each of a hundred downloads has had its turn. However many of these there are, the
/// others have every second cell.
///
/// - Source: DESIGN §7; RFC 8290 §4.2 puts new flows first in the same way
struct StreamTurns {
    /// Streams with a head start, in the order in which they had something to say. Every Begin is said from here.
    private var early = Deque<OnionStream>()
    /// The others, in the order of their turns.
    private var others = Deque<OnionStream>()
    /// Cells that the first of the others has filled in its turn.
    private var cellsInTurn = 0
    /// How often the early ones were ahead of others that waited, at most ``longestLead``.
    private var lead = 0

    /// How many cells a stream may fill ahead of others, once it has been silent for ``silence``.
    static let headStartCellCount = 16
    static let silence = TimeAmount.milliseconds(20)
    private static let longestLead = 32

    /// A round of all streams should take no longer than half of a round trip, or this if that is more.
    private static let roundTime = TimeAmount.milliseconds(40)
    private static let longestTurnCellCount: Int64 = 64
    private static let cellPayloadByteCount = Cell.bodyByteCount - Cell.tagByteCount

    var isEmpty: Bool { self.early.isEmpty && self.others.isEmpty }

    mutating func append(_ stream: OnionStream) {
        if stream.headStart > 0 { self.early.append(stream) } else { self.others.append(stream) }
    }

    private var isTurnOfOthers: Bool {
        self.early.isEmpty || (self.lead == Self.longestLead && !self.others.isEmpty)
    }

    /// Take the next stream. It is to be given back, or has left.
    mutating func removeFirst() -> OnionStream? {
        guard self.isTurnOfOthers else {
            if !self.others.isEmpty { self.lead = min(self.lead + 1, Self.longestLead) }
            return self.early.popFirst()
        }
        self.lead = max(0, self.lead - 1)
        return self.others.popFirst()
    }

    /// Give back a stream that has filled a cell.
    ///
    /// - Parameters:
    ///   - window: the circuit's congestion window, in cells.
    ///   - roundTrip: to the circuit's other end.
    mutating func giveBack(_ stream: OnionStream, window: Int, roundTrip: TimeAmount) {
        // One that has yet to say its Begin stays first: ids are begun in the order in which they were given.
        if stream.isOpeningUnsaid { return self.early.prepend(stream) }
        if stream.headStart > 0 {
            stream.headStart -= 1
            if stream.headStart > 0 { self.early.prepend(stream) } else { self.others.append(stream) }
            return
        }
        self.cellsInTurn += 1
        let turnCellCount = self.turnCellCount(window: window, roundTrip: roundTrip)
        // One that would leave but a bit behind may say that too: the bit would come alone, in a cell and a write of its
        // own, and what the socket has next would be copied behind it.
        let isRestSmall = stream.outbox.readableBytes <= turnCellCount / 8 * Self.cellPayloadByteCount
        if self.cellsInTurn < turnCellCount || isRestSmall {
            self.others.prepend(stream)
        } else {
            self.others.append(stream)
            self.cellsInTurn = 0
        }
    }

    /// The stream that was taken has nothing more to say.
    mutating func left(_ stream: OnionStream) {
        if stream.headStart > 0 { stream.headStart -= 1 } else { self.cellsInTurn = 0 }
        stream.leftQueue()
    }

    /// Let those at the head of the queue go that have nothing to say any more (paused, or ended meanwhile): a cell
    /// without any message would count at the far end, and not here.
    mutating func dropSilentStreams() {
        while let stream = self.isTurnOfOthers ? self.others.first : self.early.first, !stream.hasSomethingToSay {
            _ = self.removeFirst()
            self.left(stream)
        }
    }

    /// How many cells a stream may fill before the next has its turn. None is as good as one: a turn ends with a full
    /// cell.
    private func turnCellCount(window: Int, roundTrip: TimeAmount) -> Int {
        // No overflow: fewer than 2^14 cells, less than 2^42 ns.
        let roundTrip = max(1, roundTrip.nanoseconds)
        let round = max(roundTrip / 2, Self.roundTime.nanoseconds)
        let cellCount = Int64(window) * round / roundTrip / Int64(self.early.count + self.others.count + 1)
        return Int(min(cellCount, Self.longestTurnCellCount))
    }
}
