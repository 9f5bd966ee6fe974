import DirectoryClient
import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink

/// What became of a link to a guard. All calls come on the client's event loop.
protocol GuardLinkOwner: AnyObject {
    /// TLS and NetInfo are done: the guard is who it should be, and answers.
    func guardLinkOpened(_ link: GuardLink)
    /// The link is over; its circuits are told next. The last call.
    func guardLink(_ link: GuardLink, ended reason: GuardLink.Ending)
}

/// One link to one guard, shared by circuits: dials it, gives each circuit its id, and hands it its cells.
///
///     dialling an address ── refused ──▶ the next address ── … ── none left ──▶ ended(unreachable)
///        └─ connected ──▶ TLS, NetInfo ──▶ open ──▶ ended(frozen, lost)
///        └─ time limit ──▶ ended(unreachable)
///
/// Lives on the client's event loop.
final class GuardLink {
    enum Ending: Equatable, Sendable {
        /// No link came up: nobody listens, it is not the guard, or it did not answer in time.
        case unreachable
        /// It was open, and the guard stopped answering.
        case frozen
        /// It was open, and then closed.
        case lost
        /// It was not needed any more.
        case closed
    }

    /// Opens links; ``LinkTransport/dial(_:linkKey:on:owner:)`` or a test's stand-in.
    typealias Dial = (Endpoint, Ed25519PublicKey, any LinkOwner) -> EventLoopFuture<NIOLoopBound<Link>>

    private enum State {
        case dialling(rest: ArraySlice<Endpoint>)
        case handshaking(Link)
        case open(Link)
        case ended
    }

    let router: ConsensusRouter
    private let eventLoop: any EventLoop
    private let dial: Dial
    private weak var owner: (any GuardLinkOwner)?
    private var state: State
    private var timer: Scheduled<Void>?
    var ids = CircuitIDAllocator(isDialler: true)
    private var circuits: [CircuitID: ClientCircuit] = [:]
    private var waiting: [ClientCircuit] = []
    /// Whether all ids are spent; the link ends with its last circuit, and another is dialled for new ones.
    private(set) var isSpent = false
    /// What the link may queue, and how long it may be silent.
    private var limits: LinkLimits

    init(
        router: ConsensusRouter, eventLoop: any EventLoop, dial: @escaping Dial, owner: any GuardLinkOwner,
        limits: LinkLimits = LinkLimits(NetworkParameters())
    ) {
        self.router = router
        self.limits = limits
        self.eventLoop = eventLoop
        self.dial = dial
        self.owner = owner
        self.state = .dialling(rest: router.addresses[...])
    }

    /// The network's limits have changed.
    func update(_ limits: LinkLimits) {
        self.limits = limits
        if case .open(let link) = self.state { link.update(limits) }
    }

    var isOpen: Bool {
        if case .open = self.state { true } else { false }
    }

    /// Begin to dial.
    func start(timeLimit: TimeAmount) {
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.timer = self.eventLoop.scheduleTask(in: timeLimit) { bound.value.end(.unreachable) }
        self.dialNext()
    }

    private func dialNext() {
        guard case .dialling(var rest) = self.state else { return }
        guard let address = rest.popFirst() else { return self.end(.unreachable) }
        self.state = .dialling(rest: rest)
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.dial(address, self.router.linkKey, self).whenComplete { result in
            let this = bound.value
            switch (result, this.state) {
            case (.success(let link), .dialling): this.state = .handshaking(link.value)
            case (.success(let link), .ended): link.value.close()
            // It may have opened before the future said so.
            case (.success, .handshaking), (.success, .open): break
            case (.failure, _): this.dialNext()
            }
        }
    }

    // MARK: Circuits

    /// Begin the circuit as soon as the link is open.
    func add(_ circuit: ClientCircuit) {
        switch self.state {
        case .dialling, .handshaking: self.waiting.append(circuit)
        case .open(let link): self.begin(circuit, on: link)
        case .ended: circuit.linkLost()
        }
    }

    private func begin(_ circuit: ClientCircuit, on link: Link) {
        guard !circuit.isOver else { return }
        guard let id = self.ids.allocate() else {
            self.isSpent = true
            return circuit.linkLost()
        }
        self.circuits[id] = circuit
        link.circuitCount = self.circuits.count
        circuit.begin(on: link, as: id) { [weak self] in self?.forget(id) }
    }

    private func forget(_ id: CircuitID) {
        self.circuits[id] = nil
        guard case .open(let link) = self.state else { return }
        link.circuitCount = self.circuits.count
        if self.isSpent, self.circuits.isEmpty { link.close() }
    }

    // MARK: Ending

    /// Close the link, and so all its circuits.
    func close() { self.end(.closed) }

    private func end(_ reason: Ending) {
        let link: Link?
        switch self.state {
        case .ended: return
        case .dialling: link = nil
        case .handshaking(let open), .open(let open): link = open
        }
        self.state = .ended
        self.timer?.cancel()
        let circuits = self.waiting + self.circuits.sorted { $0.key < $1.key }.map(\.value)
        self.waiting = []
        self.circuits = [:]
        // The owner first: when it hears of the circuits' end it knows what became of their guard.
        self.owner?.guardLink(self, ended: reason)
        for circuit in circuits { circuit.linkLost() }
        link?.close()
    }
}

extension GuardLink: LinkOwner {
    func linkOpened(_ link: Link) {
        switch self.state {
        case .dialling, .handshaking:
            self.timer?.cancel()
            self.state = .open(link)
            link.update(self.limits)
            self.owner?.guardLinkOpened(self)
            let waiting = self.waiting
            self.waiting = []
            for circuit in waiting { self.begin(circuit, on: link) }
        case .open: break
        case .ended: link.close()
        }
    }

    func link(_ link: Link, received cells: inout CellBatch) {
        cells.forEachCell { header, cell in
            // Cells for circuits that are gone are dropped: they may have been on their way. Those of the link are not ours.
            guard let circuit = self.circuits[header.circuitID] else { return }
            circuit.cellReceived(header, &cell)
        }
    }

    func link(_ link: Link, hasRoomFor circuit: CircuitID) { self.circuits[circuit]?.roomAvailable() }

    func link(_ link: Link, overflowed circuit: CircuitID) { self.circuits[circuit]?.overflowed() }

    func linkClosed(_ link: Link, error: LinkError) {
        switch self.state {
        case .open: self.end(error == .frozen ? .frozen : .lost)
        // TLS or NetInfo failed: whoever listens there is not the guard, or not well.
        case .dialling, .handshaking: self.end(.unreachable)
        case .ended: break
        }
    }
}

@available(*, unavailable)
extension GuardLink: Sendable {}
