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
    /// The link's large buffers, if it has them.
    var largeBuffers: RouterAdmission.LargeBufferLoan?
    private(set) var circuits: [CircuitID: Entry] = [:]
    /// The circuit of the last cell: most often the next one's too.
    private var latest: (id: CircuitID, entry: Entry)?

    init(number: Int, link: Link, identity: Ed25519PublicKey?) {
        self.number = number
        self.link = link
        self.peer = LinkPeer(identity)
        self.ids = CircuitIDAllocator(isDialler: link.isDialler)
    }

    /// The OR at the other end, even if it has left the consensus; nil for a client.
    var identity: Ed25519PublicKey? { self.peer.identity }

    /// A newer consensus came; `listed` is the OR that it names for the peer's link key. Circuits that the peer created
    /// count as an OR's exactly while it is listed.
    func consensusChanged(listed: Ed25519PublicKey?) -> LinkPeer.Change {
        let change = self.peer.consensusChanged(listed: listed)
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

    /// Forget a circuit; returns what it was.
    @discardableResult
    func remove(_ id: CircuitID) -> Entry? {
        self.latest = nil
        let entry = self.circuits.removeValue(forKey: id)
        self.link.circuitCount = self.circuits.count
        return entry
    }

    /// Whether the link has room for one more circuit.
    func hasRoom(_ parameters: NetworkParameters) -> Bool {
        Self.hasRoom(beside: self.circuits.count, of: self.peer, parameters)
    }

    /// A client's link carries its own circuits, one between ORs everybody's.
    static func hasRoom(beside circuitCount: Int, of peer: LinkPeer, _ parameters: NetworkParameters) -> Bool {
        circuitCount < parameters[peer.isClient ? .circuitsPerClientLink : .circuitsPerRouterLink]
    }
}

@available(*, unavailable)
extension LinkTable: Sendable {}
