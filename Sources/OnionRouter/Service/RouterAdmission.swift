import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import OnionCircuits
import OnionDirectory

/// What the OR as a whole takes on: connections by address and in all, Creates by address, circuits and exit streams in
/// all. Shared by all event loops; asked once a connection, circuit or stream, never once a cell.
///
/// The addresses of listed ORs and of the directory are exempt from what holds for one address, and an eighth of all
/// connections is kept for them: clients cannot shut them out.
///
/// - Source: DESIGN §5, §7
final class RouterAdmission: Sendable {
    private struct State {
        var ledger: SourceLedger<IPPrefix>
        var exempt: Set<IPPrefix>
        var circuits: Allotment
        var streams: Allotment
        var receiveMemory = ReceiveMemory.ofMachine
    }

    /// So many of something, and no more.
    private struct Allotment {
        var limit: Int
        var count = 0

        mutating func take() -> Bool {
            guard self.count < self.limit else { return false }
            self.count += 1
            return true
        }
    }

    private let metrics: RouterMetrics
    private let directory: IPPrefix?
    private let descriptorCount: Int
    private let state: NIOLockedValueBox<State>

    /// Descriptors that are neither a peer's connection nor a destination's: event loops, name servers, links that this
    /// OR dials, files.
    static let ownDescriptorCount = 192

    /// - Parameters:
    ///   - directory: where the directory server is, if that was given as an address.
    ///   - descriptorCount: files and sockets that the process may have open.
    init(view: NetworkView, directory: IPAddress?, descriptorCount: Int, metrics: RouterMetrics) {
        self.metrics = metrics
        self.directory = directory?.sourceNetwork
        self.descriptorCount = descriptorCount
        self.state = NIOLockedValueBox(
            State(
                ledger: SourceLedger(limits: Self.limits(view.parameters, descriptorCount)),
                exempt: Set([self.directory].compactMap { $0 }),
                circuits: Allotment(limit: view.parameters[.circuitsTotal]),
                streams: Allotment(limit: Self.streamLimit(view.parameters, descriptorCount))))
    }

    /// A newer consensus came.
    func update(_ view: NetworkView) {
        let limits = Self.limits(view.parameters, self.descriptorCount)
        let exempt = Set(view.routerNetworks + [self.directory].compactMap { $0 })
        self.state.withLockedValue { state in
            state.ledger.update(limits, now: .now())
            state.exempt = exempt
            state.circuits.limit = view.parameters[.circuitsTotal]
            state.streams.limit = Self.streamLimit(view.parameters, self.descriptorCount)
        }
    }

    // MARK: Connections

    /// Count a connection in, or say that it is to be closed; if it is in, ``connectionClosed(_:)`` ends it.
    func admits(_ address: IPAddress) -> Bool {
        let source = address.sourceNetwork
        let refusal = self.state.withLockedValue { state in
            state.ledger.admit(source, isExempt: state.exempt.contains(source), now: .now())
        }
        switch refusal {
        case nil: return true
        case .connections: self.metrics.reached(.connections)
        case .connectionsPerSource: self.metrics.reached(.connectionsPerAddress)
        case .halfOpenPerSource: self.metrics.reached(.halfOpenPerAddress)
        case .connectsPerSource: self.metrics.reached(.connectsPerAddress)
        }
        return false
    }

    func connectionClosed(_ address: IPAddress) {
        self.state.withLockedValue { $0.ledger.closed(address.sourceNetwork) }
    }

    /// A connection has become an open link.
    func linkOpened(_ address: IPAddress) {
        self.state.withLockedValue { $0.ledger.established(address.sourceNetwork) }
    }

    func linkClosed(_ address: IPAddress) {
        self.state.withLockedValue { $0.ledger.ended(address.sourceNetwork) }
    }

    // MARK: Circuits

    /// Whether a client at `address` may create one more circuit now.
    func takesCreate(from address: IPAddress) -> Bool {
        self.state.withLockedValue { $0.ledger.takeRequest(address.sourceNetwork, now: .now()) }
    }

    /// Count a circuit in, unless there are too many; if it is in, ``circuitEnded()`` ends it.
    func takesCircuit() -> Bool { self.state.withLockedValue { $0.circuits.take() } }

    func circuitEnded() { self.state.withLockedValue { $0.circuits.count -= 1 } }

    // MARK: Streams

    /// Count an exit stream's socket in, unless there are too many; if it is in, ``streamEnded(_:)`` ends it.
    ///
    /// - Parameter streamCount: streams of its circuit, itself included.
    /// - Returns: the size of the socket's receive buffer, which is lent to it.
    func takesStream(streamCount: Int) -> Int? {
        self.state.withLockedValue { $0.streams.take() ? $0.receiveMemory.lend(streamCount: streamCount) : nil }
    }

    func streamEnded(_ receiveBufferByteCount: Int) {
        self.state.withLockedValue {
            $0.streams.count -= 1
            $0.receiveMemory.giveBack(receiveBufferByteCount)
        }
    }

    // MARK: Shares

    /// What is left of the descriptors, in two halves: neither peers nor destinations can take those of the other.
    private static func half(_ descriptorCount: Int) -> Int { max(1, (descriptorCount - Self.ownDescriptorCount) / 2) }

    private static func streamLimit(_ parameters: NetworkParameters, _ descriptorCount: Int) -> Int {
        min(parameters[.streamsTotal], Self.half(descriptorCount))
    }

    private static func limits(
        _ parameters: NetworkParameters, _ descriptorCount: Int
    ) -> SourceLedger<IPPrefix>.Limits {
        let connections = min(parameters[.connectionsTotal], Self.half(descriptorCount))
        return SourceLedger.Limits(
            connections: connections, reservedConnections: connections / 8,
            connectionsPerSource: parameters[.connectionsPerAddress],
            halfOpenPerSource: parameters[.halfOpenPerAddress],
            connectsPerSecond: parameters[.connectsPerSecond], connectBurst: parameters[.connectBurst],
            requestsPerSecond: parameters[.createsPerSecond], requestBurst: parameters[.createBurst])
    }
}
