import DirectoryClient
import NIOCore
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams

/// What a circuit tells the client that it belongs to. All calls come on the client's event loop.
protocol ClientCircuitOwner: AnyObject {
    /// All hops have answered: streams may be opened.
    func circuitReady(_ circuit: ClientCircuit)
    /// One of its streams is over.
    func circuit(_ circuit: ClientCircuit, closed stream: OnionStream)
    /// Its streams have gained and lost bytes. Comes before the circuit's end too, for what sockets have still to take.
    func circuit(_ circuit: ClientCircuit, bytesChanged endpoint: CircuitEndpoint)
    /// It is gone, with all its streams. The last call.
    func circuit(_ circuit: ClientCircuit, ended error: CircuitError)
}

extension ClientCircuitOwner {
    /// For those that keep no account of what is queued.
    func circuit(_ circuit: ClientCircuit, bytesChanged endpoint: CircuitEndpoint) {}
}

/// One circuit at the client: builds itself hop by hop, then carries streams.
///
/// Owns the keys of all hops and the ``CircuitBuild``; once complete, a ``CircuitEndpoint`` for streams and window. Cells
/// come from, and go to, the ``GuardLink``. Handshakes are completed on the event loop: at a client there are few, and one
/// takes 0.1 ms.
///
/// Lives on the client's event loop.
///
/// - Source: DESIGN §6
final class ClientCircuit {
    /// What a circuit is made with.
    struct Settings {
        var congestion: CongestionParameters
        var streams: StreamLimits
        var buildTimeLimit: TimeAmount

        init(_ parameters: NetworkParameters) {
            self.congestion = CongestionParameters(parameters)
            self.streams = StreamLimits(parameters)
            self.buildTimeLimit = .milliseconds(Int64(parameters[.circuitBuildTimeout]))
        }
    }

    let key: CircuitPool.CircuitKey
    let path: [ConsensusRouter]
    let startedAt: NIODeadline
    /// When each hop was asked, and when its answer had been verified: a record a hop, in path order, as far as it has come.
    private(set) var exchanges: [Exchange] = []

    private let eventLoop: any EventLoop
    private let settings: Settings
    private let padding: PaddingSourceBox
    private weak var owner: (any ClientCircuitOwner)?
    private var build: CircuitBuild<ConsensusRouter>
    /// With the hop that is awaited.
    private var handshake: CircuitHandshake.Client?
    /// With the hop after that one, made while that one answers.
    private var nextHandshake: CircuitHandshake.Client?
    private var forward: [HopCipher] = []
    private var backward: [HopCipher] = []
    private var connection: Connection?
    private var endpoint: CircuitEndpoint?
    private var timer: Scheduled<Void>?

    private struct Connection {
        let link: Link
        let id: CircuitID
        let forget: () -> Void
        /// Whether the guard has destroyed the circuit, so that it need not be told.
        var isGone = false
    }

    /// Create and Created, or Extend and Extended.
    struct Exchange: Equatable {
        let askedAt: NIODeadline
        var answeredAt: NIODeadline?
    }

    /// Cells of this circuit that may wait for the link before streams are held back.
    static let backlogLimit = 32

    init(
        key: CircuitPool.CircuitKey, path: [ConsensusRouter], settings: Settings, padding: PaddingSourceBox,
        eventLoop: any EventLoop, owner: any ClientCircuitOwner
    ) {
        self.key = key
        self.path = path
        self.settings = settings
        self.padding = padding
        self.eventLoop = eventLoop
        self.startedAt = eventLoop.now
        self.owner = owner
        self.build = CircuitBuild(path: path)
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        // From now on, not from Create: whoever waits for the circuit waits for its link as well.
        self.timer = eventLoop.scheduleTask(in: settings.buildTimeLimit) {
            bound.value.perform(bound.value.build.timerFired())
        }
    }

    var guardRouter: ConsensusRouter { self.path[0] }
    /// The router that the build waits for and the one before it, through which the answer comes; none once it is complete or over.
    var routersThatMayHang: [Ed25519PublicKey] {
        self.build.awaitedHop.map { hop in self.path[max(0, hop - 1)...hop].map(\.identity) } ?? []
    }
    /// Whether the guard has been sent Create and has not answered.
    var awaitsGuard: Bool { self.exchanges.count == 1 && self.exchanges[0].answeredAt == nil }
    var isReady: Bool { self.build.isReady }
    var isOver: Bool { self.build.isFailed }
    var streamCount: Int { self.endpoint?.streamCount ?? 0 }
    var carriedStreamCount: Int { self.endpoint?.openedStreamCount ?? 0 }
    /// The round trip to the last hop as acknowledged cells show it; nil before the first acknowledgement.
    var smoothedRTT: TimeAmount? { self.endpoint.flatMap { $0.smoothedRTT > .zero ? $0.smoothedRTT : nil } }
    private var lastHop: Int { self.path.count - 1 }

    // MARK: Events

    /// The link to the guard is open.
    ///
    /// - Parameter forget: called when the circuit is over, so that it gets no more cells.
    func begin(on link: Link, as id: CircuitID, forget: @escaping () -> Void) {
        self.connection = Connection(link: link, id: id, forget: forget)
        self.perform(self.build.start())
    }

    /// A cell of this circuit came; once the circuit is over the link has none for it.
    func cellReceived(_ header: CellHeader, _ cell: inout MutableRawSpan) {
        var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
        do throws(CircuitError) {
            switch header.command {
            case .relay: try self.relayReceived(command: header.rawCommand, body: &body)
            case .created: try self.createdReceived(body.bytes)
            case .destroy:
                let reason = body.bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt8.self)
                self.connection?.isGone = true
                self.perform(self.build.destroyReceived(DestroyReason(wire: reason)))
            case .relayEarly: throw .relayEarlyBackward
            case .padding: break
            case .create, .netInfo, .ping, .pong, nil: throw .replyNotDue
            }
        } catch {
            self.perform(self.build.abandon(error))
        }
    }

    /// The link has room again.
    func roomAvailable() { self.endpoint?.roomAvailable() }

    /// More cells wait for the link than the rules allow.
    func overflowed() { self.perform(self.build.abandon(.resourceLimit)) }

    /// The link is gone, or never came up.
    func linkLost() { self.perform(self.build.linkLost()) }

    /// Called now and then, so that half-closed streams on which nothing moves end, and few bytes count too.
    func tick(now: NIODeadline) {
        guard let endpoint else { return }
        endpoint.tick(now: now)
        self.endpointBytesChanged(endpoint)
    }

    // MARK: Streams

    /// Open a stream to the last hop; nil unless the circuit is complete and has ids left.
    func open(_ command: RelayCommand, data: ByteBuffer) -> OnionStream? {
        self.endpoint?.open(command, data: data)
    }

    /// Close the circuit: it is not needed any more.
    func close() { self.perform(self.build.abandon(.destroyed(hop: nil, .finished))) }

    // MARK: Receiving

    private func createdReceived(_ body: RawSpan) throws(CircuitError) {
        let created: [UInt8]
        do throws(CellError) { created = try HandshakeBody.created(in: body) } catch { throw .malformedCell(error) }
        self.perform(try self.build.createdReceived(), created: created)
    }

    private func relayReceived(command: UInt8, body: inout MutableRawSpan) throws(CircuitError) {
        guard let (hop, tag) = ClientCipher.backward(self.backward, command: command, body: &body) else {
            throw .cellNotRecognised
        }
        let payload = body.bytes.extracting(droppingFirst: Cell.tagByteCount)
        if let endpoint, hop == self.lastHop {
            endpoint.cellReceived(payload: payload, tag: tag)
        } else {
            try self.controlReceived(payload, from: hop)
        }
    }

    /// A cell from a hop that is not the end of a complete circuit.
    private func controlReceived(_ payload: RawSpan, from hop: Int) throws(CircuitError) {
        var walker = RelayMessageWalker()
        var next = try walker.nextMessage(in: payload)
        // A cell that says nothing is one that nobody would notice.
        guard next != nil else { throw .messageNotAllowed(.drop) }
        while let message = next {
            try RelayRules.check(message.command, .backward, self.build.position(of: hop))
            let data = payload.extracting(message.data)
            switch message.command {
            case .extended:
                // Extended travels alone.
                guard message.data.lowerBound == RelayMessageHeader.byteCount,
                    try walker.nextMessage(in: payload) == nil
                else { throw .messageNotAllowed(.extended) }
                let created = data.withUnsafeBytes { [UInt8]($0) }
                return self.perform(try self.build.extendedReceived(from: hop), created: created)
            case .truncated:
                let reason = data.byteCount == 1 ? data.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt8.self) : 0
                return self.perform(self.build.truncatedReceived(from: hop, DestroyReason(wire: reason)))
            case .drop: break
            case .begin, .connected, .data, .end, .sendMe, .xOff, .xOn, .extend, .resolve, .resolved:
                // No stream has been opened, and no window has begun.
                throw .messageNotAllowed(message.command)
            }
            next = try walker.nextMessage(in: payload)
        }
    }

    // MARK: Doing

    private func perform(_ action: CircuitBuild<ConsensusRouter>.Action, created: [UInt8] = []) {
        switch action {
        case .none: break
        case .sendCreate(let router): self.sendCreate(to: router)
        case .sendExtend(let router, let hop): self.sendExtend(to: router, from: hop)
        case .verifyHandshake: self.verify(created)
        case .ready: self.becameReady()
        case .failed(let error): self.ended(error)
        }
    }

    private func verify(_ created: [UInt8]) {
        guard let handshake, let keys = try? handshake.complete(created: created) else {
            return self.perform(self.build.handshakeFailed())
        }
        self.handshake = nil
        self.forward.append(keys.makeForward())
        self.backward.append(keys.makeBackward())
        self.exchanges[self.exchanges.count - 1].answeredAt = self.eventLoop.now
        self.perform(self.build.handshakeCompleted())
    }

    private func sendCreate(to router: ConsensusRouter) {
        guard let connection else { return }
        connection.link.send(circuit: connection.id, command: .create, body: self.beginHandshake(with: router).create)
    }

    /// Begin the handshake with a hop. When its message is on its way, make ready for the next one: keys take 0.1 ms, and
    /// nothing else is to be done until the answer comes.
    private func beginHandshake(with router: ConsensusRouter) -> CircuitHandshake.Client {
        let handshake =
            self.nextHandshake ?? CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
        self.handshake = handshake
        self.exchanges.append(Exchange(askedAt: self.eventLoop.now))
        self.nextHandshake = nil
        guard let next = self.path.dropFirst(self.forward.count + 1).first else { return handshake }
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute {
            guard !bound.value.isOver else { return }
            bound.value.nextHandshake = CircuitHandshake.Client(identity: next.identity, onionKey: next.onionKey)
        }
        return handshake
    }

    private func sendExtend(to router: ConsensusRouter, from hop: Int) {
        var data = ByteBuffer()
        Extend(identity: router.identity, create: self.beginHandshake(with: router).create).write(to: &data)
        _ = self.sendCell(.relayEarly, to: hop) { payload in
            self.padding.pack(.extend, streamID: .circuit, data: Array(buffer: data), into: &payload)
        }
    }

    /// Make one relay cell for hop number `hop`, in place, and give it to the link.
    private func sendCell(_ command: CellCommand, to hop: Int, fill: (inout MutableRawSpan) -> Void) -> CellTag {
        var tag = CellTag(high: 0, low: 0)
        guard let connection else { return tag }
        connection.link.send(circuit: connection.id) { cell in
            CellHeader(circuitID: connection.id, command: command).write(to: &cell)
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            Self.fillPayload(of: &body, fill)
            tag = ClientCipher.originate(self.forward, target: hop, command: command.rawValue, body: &body)
        }
        return tag
    }

    private static func fillPayload(of body: inout MutableRawSpan, _ fill: (inout MutableRawSpan) -> Void) {
        var payload = body._mutatingExtracting(Cell.tagByteCount..<Cell.bodyByteCount)
        fill(&payload)
    }

    private func becameReady() {
        self.timer?.cancel()
        self.endpoint = CircuitEndpoint(
            role: .client, eventLoop: self.eventLoop, congestion: self.settings.congestion,
            limits: self.settings.streams, padding: self.padding, owner: self)
        self.owner?.circuitReady(self)
    }

    private func ended(_ error: CircuitError) {
        self.timer?.cancel()
        self.handshake = nil
        self.nextHandshake = nil
        if let connection {
            self.connection = nil
            connection.forget()
            self.sayGoodbye(error, connection)
        }
        let endpoint = self.endpoint
        self.endpoint = nil
        let owner = self.owner
        self.owner = nil
        // Streams that were open end as by a broken connection; those that were not yet are the owner's to try again.
        if let endpoint {
            endpoint.destroy(.reset)
            owner?.circuit(self, bytesChanged: endpoint)
        }
        owner?.circuit(self, ended: error)
    }

    /// Tell the guard, unless it is the one that told us.
    private func sayGoodbye(_ error: CircuitError, _ connection: Connection) {
        connection.link.dropQueue(of: connection.id)
        guard !connection.isGone, error != .linkLost else { return }
        connection.link.send(
            circuit: connection.id, command: .destroy, body: CollectionOfOne(error.destroyReason.rawValue))
    }
}

extension ClientCircuit: CircuitEndpointOwner {
    func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool {
        guard let connection else { return false }
        return connection.link.backlog(of: connection.id) < Self.backlogLimit
    }

    func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag {
        self.sendCell(.relay, to: self.lastHop, fill: fill)
    }

    func endpoint(
        _ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer
    ) throws(CircuitError) {
        throw .messageNotAllowed(command)
    }

    func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason) {
        self.perform(self.build.truncatedReceived(from: self.lastHop, reason))
    }

    func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError) {
        self.perform(self.build.abandon(error))
    }

    func endpointBytesChanged(_ endpoint: CircuitEndpoint) { self.owner?.circuit(self, bytesChanged: endpoint) }

    func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream) {
        self.owner?.circuit(self, closed: stream)
    }
}

@available(*, unavailable)
extension ClientCircuit: Sendable {}
