import NIOCore
import OnionCircuits
import OnionStreams

/// What the streams of all circuits hold in a client, and which circuit has to go when that is too much: the one with
/// the oldest bytes.
///
/// Circuits that are gone are kept here while sockets have still to take their last bytes. Bound to the client's loop.
///
/// - Source: DESIGN §7 *A process-wide ceiling*
struct ClientQueues {
    struct Holder {
        let circuit: ClientCircuit
        let endpoint: CircuitEndpoint
    }

    private var ledger: QueueLedger<ObjectIdentifier>
    private var holders: [ObjectIdentifier: Holder] = [:]

    /// - Parameter ceiling: in bytes.
    init(ceiling: Int) { self.ledger = QueueLedger(ceiling: ceiling) }

    /// In bytes; changes with the network's parameters.
    var ceiling: Int {
        get { self.ledger.ceiling }
        set { self.ledger.ceiling = newValue }
    }
    var isOverCeiling: Bool { self.ledger.isOverCeiling }
    var all: some Collection<Holder> { self.holders.values }
    /// Whoever holds the oldest bytes, if there are too many in all.
    var victim: Holder? { self.ledger.victim.flatMap { self.holders[$0] } }

    /// See what a circuit's streams have gained and lost.
    mutating func look(_ holder: Holder, now: NIODeadline) {
        let key = ObjectIdentifier(holder.endpoint)
        let (added, removed) = holder.endpoint.takeTraffic()
        guard added + removed > 0 else { return }
        self.ledger.added(added, to: key, now: now)
        self.ledger.removed(removed, from: key, now: now)
        self.holders[key] = self.ledger.byteCount(of: key) > 0 ? holder : nil
    }

    /// A victim is gone; what is left of it is forgotten.
    mutating func forget(_ holder: Holder) {
        let key = ObjectIdentifier(holder.endpoint)
        self.ledger.forget(key)
        self.holders[key] = nil
    }
}
