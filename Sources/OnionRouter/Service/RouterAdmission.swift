import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import OnionCircuits
import OnionDirectory
import OnionLink

/// What the OR as a whole takes on: connections, circuits and links' large buffers by address and in all, Creates by
/// address, exit streams and look-ups by circuit and in all. Shared by all event loops; asked once a connection, circuit or
/// stream, never once a cell.
///
/// The addresses of listed ORs and of the directory are exempt from what holds for one address, and an eighth of all
/// connections, circuits and large buffers is kept for them: clients cannot shut them out.
///
/// - Source: DESIGN §5, §7
final class RouterAdmission: Sendable {
    private struct State {
        var ledger: SourceLedger<IPPrefix>
        var exempt: Set<IPPrefix>
        var streams: Allotment
        var lookups: Allotment
        var directoryStreams: DirectoryStreams
        var largeBuffers: LargeBuffers
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

        /// How many one circuit may have: a part of what is left, so that no few circuits leave nothing for the next one,
        /// and some in any case.
        var share: Int { max(8, (self.limit - self.count) / 16) }
    }

    /// Links that may have large buffers. TLS keeps those, and they count against no queue: half as much again as queues may
    /// hold.
    private struct LargeBuffers {
        var limit: Int
        private var count = 0
        private var countBySource: [IPPrefix: Int] = [:]

        init(_ parameters: NetworkParameters) { self.limit = Self.limit(parameters) }

        static func limit(_ parameters: NetworkParameters) -> Int {
            parameters[.processQueueLimit] / 2 / LinkBuffers.largeByteCount
        }

        /// - Parameter source: of a stranger: all of them leave an eighth free, and one has an eighth.
        mutating func take(_ source: IPPrefix?) -> Bool {
            let part = self.limit / 8
            let ofSource = source.map { self.countBySource[$0, default: 0] } ?? 0
            guard self.count < self.limit - (source == nil ? 0 : part), ofSource < max(1, part) else { return false }
            self.count += 1
            if let source { self.countBySource[source] = ofSource + 1 }
            return true
        }

        mutating func giveBack(_ source: IPPrefix?) {
            self.count -= 1
            guard let source, let ofSource = self.countBySource[source] else { return }
            self.countBySource[source] = ofSource > 1 ? ofSource - 1 : nil
        }
    }

    /// Exit streams to the directory server. They leave from this OR's own address, for which the server has limits
    /// too: clients are to use up no more than a part of what it grants there, so that the OR itself still reaches it.
    private struct DirectoryStreams {
        var count = 0
        var begins: TokenBucket

        /// - Parameter parameters: those of a test network, where all clients are on one machine, raise the rate.
        init(_ parameters: NetworkParameters) {
            let isRaised = parameters.allows(.allowLoopback)
            // Full at the first stream, whenever that is.
            self.begins = TokenBucket(
                ratePerSecond: isRaised ? 10_000 : RouterAdmission.directoryBeginsPerSecond,
                burst: isRaised ? 10_000 : RouterAdmission.directoryStreamLimit, now: .uptimeNanoseconds(0))
        }

        mutating func update(_ parameters: NetworkParameters) {
            var other = Self(parameters)
            guard other.begins.ratePerSecond != self.begins.ratePerSecond else { return }
            other.count = self.count
            self = other
        }

        /// - Parameter isOneHop: whether a client asks that has no other OR before this one, as none of ours does: such
        ///   have an eighth, and leave the rest to others.
        mutating func limitReached(isOneHop: Bool, now: NIODeadline) -> RouterLimit? {
            let limit = RouterAdmission.directoryStreamLimit
            guard self.count < (isOneHop ? limit / 8 : limit) else { return .directoryStreams }
            let reserved = isOneHop ? self.begins.burst - self.begins.burst / 8 : 0
            guard self.begins.available(now: now) > reserved else { return .directoryBegins }
            return self.begins.take(now: now) ? nil : .directoryBegins
        }
    }

    private let metrics: RouterMetrics
    private let directory: IPPrefix?
    private let descriptorCount: Int
    private let state: NIOLockedValueBox<State>

    /// Descriptors that are neither a peer's connection nor a destination's: event loops, name servers, links that this
    /// OR dials, files.
    static let ownDescriptorCount = 192
    /// Streams to the directory server at once, which are also as many as may begin at once: three quarters of the
    /// connections that it takes from one address.
    static let directoryStreamLimit = 384
    /// New ones a second: a fifth of what it takes from one address.
    static let directoryBeginsPerSecond = 10

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
                streams: Allotment(limit: Self.streamLimit(view.parameters, descriptorCount)),
                lookups: Allotment(limit: view.parameters[.resolvesTotal]),
                directoryStreams: DirectoryStreams(view.parameters),
                largeBuffers: LargeBuffers(view.parameters)))
    }

    /// A newer consensus came.
    func update(_ view: NetworkView) {
        let limits = Self.limits(view.parameters, self.descriptorCount)
        let exempt = Set(view.routerNetworks + [self.directory].compactMap { $0 })
        self.state.withLockedValue { state in
            state.ledger.update(limits, now: .now())
            state.exempt = exempt
            state.streams.limit = Self.streamLimit(view.parameters, self.descriptorCount)
            state.lookups.limit = view.parameters[.resolvesTotal]
            state.directoryStreams.update(view.parameters)
            state.largeBuffers.limit = LargeBuffers.limit(view.parameters)
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

    /// Large buffers that one link has.
    struct LargeBufferLoan: Sendable {
        fileprivate let source: IPPrefix?
    }

    /// Lend large buffers to one more link, until ``giveBack(_:)``.
    ///
    /// - Parameter isRouter: whether it is a link between ORs, for which an eighth is kept.
    func lendsLargeBuffers(to address: IPAddress?, isRouter: Bool) -> LargeBufferLoan? {
        let source = Self.source(address)
        let loan = self.state.withLockedValue { state -> LargeBufferLoan? in
            let loan = LargeBufferLoan(source: isRouter || state.exempt.contains(source) ? nil : source)
            return state.largeBuffers.take(loan.source) ? loan : nil
        }
        if loan == nil { self.metrics.reached(.largeBuffers) }
        return loan
    }

    func giveBack(_ loan: LargeBufferLoan) { self.state.withLockedValue { $0.largeBuffers.giveBack(loan.source) } }

    // MARK: Circuits

    /// Whether a client at `address` may create one more circuit now.
    func takesCreate(from address: IPAddress) -> Bool {
        self.state.withLockedValue { $0.ledger.takeRequest(address.sourceNetwork, now: .now()) }
    }

    /// Count in a circuit that the peer at `address` creates, or say which limit keeps it out; if it is in,
    /// ``circuitEnded(_:)`` ends it.
    ///
    /// - Parameters:
    ///   - address: of the link's far end; all without one count as one.
    ///   - isListed: whether the peer is an OR of the consensus, which is exempt wherever its connection comes from.
    func limitReached(byCircuitFrom address: IPAddress?, isListed: Bool) -> RouterLimit? {
        let source = Self.source(address)
        let refusal = self.state.withLockedValue { state in
            state.ledger.takeCircuit(
                source, isExempt: isListed || state.exempt.contains(source), now: .now())
        }
        switch refusal {
        case nil: return nil
        case .circuits: return .circuits
        case .circuitsPerSource: return .circuitsPerAddress
        }
    }

    /// A circuit that was counted in for `address` is gone.
    func circuitEnded(_ address: IPAddress?) {
        self.state.withLockedValue { $0.ledger.circuitEnded(Self.source(address)) }
    }

    private static func source(_ address: IPAddress?) -> IPPrefix { (address ?? .v4(0)).sourceNetwork }

    // MARK: Streams

    /// Count an exit stream's socket in, unless there are too many; if it is in, ``streamEnded(_:toDirectory:)`` ends
    /// it.
    ///
    /// - Parameters:
    ///   - streamCount: sockets of its circuit, itself included.
    ///   - now: the time, if it goes to the directory server; nil for one that does not.
    ///   - isOneHop: whether its circuit comes from a client.
    /// - Returns: the size of the socket's receive buffer, which is lent to it.
    func takesStream(
        streamCount: Int, toDirectoryAt now: NIODeadline? = nil, isOneHop: Bool = false
    ) -> Int? {
        let (limit, receiveBufferByteCount) = self.state.withLockedValue { state -> (RouterLimit?, Int) in
            if let now, let limit = state.directoryStreams.limitReached(isOneHop: isOneHop, now: now) {
                return (limit, 0)
            }
            guard streamCount <= state.streams.share, state.streams.take() else { return (.streams, 0) }
            if now != nil { state.directoryStreams.count += 1 }
            return (nil, state.receiveMemory.lend(streamCount: streamCount))
        }
        guard let limit else { return receiveBufferByteCount }
        self.metrics.reached(limit)
        return nil
    }

    func streamEnded(_ receiveBufferByteCount: Int, toDirectory: Bool = false) {
        self.state.withLockedValue {
            $0.streams.count -= 1
            if toDirectory { $0.directoryStreams.count -= 1 }
            $0.receiveMemory.giveBack(receiveBufferByteCount)
        }
    }

    // MARK: Look-ups

    /// Whether a circuit may have one more look-up; ``lookupEnded()`` ends it.
    ///
    /// - Parameter count: look-ups of the circuit, itself included.
    func takesLookup(count: Int) -> Bool {
        self.state.withLockedValue { state in
            guard count <= state.lookups.share else { return false }
            // How many there are in all the resolver says: those of one name are one to it.
            state.lookups.count += 1
            return true
        }
    }

    func lookupEnded() { self.state.withLockedValue { $0.lookups.count -= 1 } }

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
        let circuits = parameters[.circuitsTotal]
        return SourceLedger.Limits(
            connections: connections, reservedConnections: connections / 8,
            connectionsPerSource: parameters[.connectionsPerAddress],
            halfOpenPerSource: parameters[.halfOpenPerAddress],
            connectsPerSecond: parameters[.connectsPerSecond], connectBurst: parameters[.connectBurst],
            requestsPerSecond: parameters[.createsPerSecond], requestBurst: parameters[.createBurst],
            circuits: circuits, reservedCircuits: circuits / 8, circuitsPerSource: max(1, circuits / 32))
    }
}
