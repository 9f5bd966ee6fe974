import NIOCore
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink

/// The circuits of one link, and what the peer may still ask of it. Bound to the link's event loop.
final class LinkTable {
    enum Entry {
        /// The link's peer is the hop before us.
        case previous(RelayCircuit)
        /// The link's peer is the hop after us.
        case next(NextHopCircuit)
    }

    let link: Link
    /// Which one of its loop's links it is, counted as they open.
    let number: Int
    /// Who is at the other end.
    private(set) var peer: LinkPeer
    var ids: CircuitIDAllocator
    var usedIDs = UsedCircuitIDs()
    var isClosed = false
    private(set) var circuits: [CircuitID: Entry] = [:]
    /// The circuit of the last cell: most often the next one's too.
    private var latest: (id: CircuitID, entry: Entry)?
    private var creates: TokenBucket

    init(number: Int, link: Link, identity: Ed25519PublicKey?, parameters: NetworkParameters) {
        self.number = number
        self.link = link
        self.peer = LinkPeer(identity)
        self.ids = CircuitIDAllocator(isDialler: link.isDialler)
        self.creates = TokenBucket(
            ratePerSecond: parameters[.createsPerSecond], burst: parameters[.createBurst], now: link.eventLoop.now)
    }

    /// The OR at the other end, even if it has left the consensus; nil for a client.
    var identity: Ed25519PublicKey? { self.peer.identity }

    /// A newer consensus came; `listed` is the OR that it names for the peer's link key. Circuits that the peer created
    /// count as an OR's exactly while it is listed.
    func consensusChanged(listed: Ed25519PublicKey?) -> LinkPeer.Change {
        let change = self.peer.consensusChanged(listed: listed)
        guard change != .none else { return change }
        for case .previous(let circuit) in self.circuits.values { circuit.previousHop = self.peer }
        return change
    }

    /// Find the circuit that a cell names.
    func entry(_ id: CircuitID) -> Entry? {
        if let latest, latest.id == id { return latest.entry }
        guard let entry = self.circuits[id] else { return nil }
        self.latest = (id, entry)
        return entry
    }

    /// All circuits in the order of their ids: what ends them together, does so in an order that can be repeated.
    var orderedCircuits: [Entry] { self.circuits.sorted { $0.key < $1.key }.map(\.value) }

    func insert(_ entry: Entry, _ id: CircuitID) {
        self.latest = nil
        self.circuits[id] = entry
        self.link.circuitCount = self.circuits.count
    }

    func remove(_ id: CircuitID) {
        self.latest = nil
        self.circuits[id] = nil
        self.link.circuitCount = self.circuits.count
    }

    /// Whether one more circuit may be created. Links of ORs are not limited here: theirs carry everybody's circuits. One that
    /// has left the consensus creates none.
    ///
    /// - Source: DESIGN §7: a link without a certificate has at most 256 circuits and a bucket of 10 Creates a second.
    func admitsCreate(_ parameters: NetworkParameters, now: NIODeadline) -> Bool {
        guard self.peer.isClient else { return self.peer.mayCreate }
        return self.circuits.count < parameters[.circuitsPerClientLink] && self.creates.take(now: now)
    }
}

@available(*, unavailable)
extension LinkTable: Sendable {}
