import NIOCore
import OnionCells
import OnionCircuits
import OnionLink

/// What all queues of one event loop hold together, and which of them has to go when that is too much: the loop's part of
/// the ceiling on the bytes that the process queues.
///
/// Cells that wait for links and bytes of exit streams are told in batches, and only when there are any. Bound to its loop.
///
/// - Source: DESIGN §7 *A process-wide ceiling*
struct LoopQueues {
    enum Key: Hashable, Sendable {
        /// Cells that wait for a link.
        case cells(link: ObjectIdentifier, CircuitID)
        /// What the streams of an exit's circuit hold.
        case streams(ObjectIdentifier)
    }

    private var ledger: QueueLedger<Key>
    /// Exits that hold bytes; some whose circuits are gone, as their sockets have still to take the last ones.
    private(set) var exits: [ObjectIdentifier: ExitCircuit] = [:]

    /// - Parameters:
    ///   - ceiling: of the process, in bytes.
    ///   - loopCount: event loops that share it; there is one at least.
    init(ceiling: Int, loopCount: Int) {
        self.ledger = QueueLedger(ceiling: Self.share(of: ceiling, loopCount: loopCount))
    }

    private static func share(of ceiling: Int, loopCount: Int) -> Int { ceiling / loopCount }

    mutating func update(ceiling: Int, loopCount: Int) {
        self.ledger.ceiling = Self.share(of: ceiling, loopCount: loopCount)
    }

    var byteCount: Int { self.ledger.byteCount }
    var isOverCeiling: Bool { self.ledger.isOverCeiling }
    /// The oldest queue, if there is too much in all.
    var victim: Key? { self.ledger.victim }

    /// A link's queues have changed.
    mutating func changed(_ link: ObjectIdentifier, _ traffic: [CircuitID: QueueTraffic], now: NIODeadline) {
        for (circuit, traffic) in traffic { self.changed(.cells(link: link, circuit), traffic, now: now) }
    }

    /// What an exit's streams hold has changed.
    mutating func changed(_ exit: ExitCircuit, added: Int, removed: Int, now: NIODeadline) {
        let key = ObjectIdentifier(exit)
        self.changed(.streams(key), QueueTraffic(added: added, removed: removed), now: now)
        self.exits[key] = self.ledger.byteCount(of: .streams(key)) > 0 ? exit : nil
    }

    private mutating func changed(_ key: Key, _ traffic: QueueTraffic, now: NIODeadline) {
        self.ledger.added(traffic.added, to: key, now: now)
        self.ledger.removed(traffic.removed, from: key, now: now)
    }

    /// A victim's circuit is gone. What is left of its queue counts as new, so that it is not chosen again at once.
    mutating func relieved(_ key: Key, now: NIODeadline) {
        let left = self.ledger.forget(key)
        self.ledger.added(left, to: key, now: now)
    }
}
