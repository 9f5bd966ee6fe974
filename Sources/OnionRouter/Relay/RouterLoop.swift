import CoreMetrics
import NIOCore
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams

/// One event loop of the OR: the links that live on it, their circuit tables, and what is done with each cell.
///
/// A circuit between two links of one loop never leaves it. Between loops, cells cross in batches (``CrossLoopCells``)
/// and events as closures, in order. Nothing here is locked.
///
/// - Source: DESIGN §5, §6, §8
final class RouterLoop {
    /// How other loops name this one.
    struct Reference: Sendable {
        let eventLoop: any EventLoop
        fileprivate let bound: NIOLoopBound<RouterLoop>

        /// The loop's part itself, for those who run on it.
        var local: RouterLoop { self.bound.value }

        /// Run `body` on the loop: at once if this is it.
        func run(_ body: @escaping @Sendable (RouterLoop) -> Void) {
            if self.eventLoop.inEventLoop { return body(self.bound.value) }
            self.eventLoop.execute { body(self.bound.value) }
        }
    }

    let eventLoop: any EventLoop
    let shared: RouterShared
    let padding = PaddingSourceBox()
    private(set) var view: NetworkView
    private(set) var tables: [ObjectIdentifier: LinkTable] = [:]
    /// Links that this OR dials, by their key, until they are open.
    private(set) var dialling: [ObjectIdentifier: Dialling] = [:]
    private var openedLinkCount = 0
    private var outbox = CrossLoopCells()
    private var isOutboxFlushScheduled = false
    private var ticker: RepeatedTask?
    private var queueTicker: RepeatedTask?
    /// What waits on this loop, for links and for sockets.
    var queues: LoopQueues
    var isReliefScheduled = false

    struct Dialling {
        let identity: Ed25519PublicKey
        let promise: EventLoopPromise<LinkHandle>
    }

    /// How often half-closed streams are looked at.
    static let tickInterval = TimeAmount.seconds(5)
    /// How often circuits with few bytes are asked what they hold; those with many say so themselves.
    static let queueTickInterval = TimeAmount.milliseconds(500)
    /// How long the next OR may take to answer a Create.
    static let createTimeLimit = TimeAmount.seconds(15)

    /// - Precondition: called on `eventLoop`.
    init(eventLoop: any EventLoop, shared: RouterShared) {
        eventLoop.preconditionInEventLoop()
        self.eventLoop = eventLoop
        self.shared = shared
        self.view = shared.view
        self.queues = LoopQueues(
            ceiling: self.view.parameters[.processQueueLimit], loopCount: shared.loopCount)
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        self.ticker = eventLoop.scheduleRepeatedTask(initialDelay: Self.tickInterval, delay: Self.tickInterval) { _ in
            bound.value.tick()
        }
        self.queueTicker = eventLoop.scheduleRepeatedTask(
            initialDelay: Self.queueTickInterval, delay: Self.queueTickInterval
        ) { _ in bound.value.queueTick() }
    }

    var reference: Reference {
        Reference(eventLoop: self.eventLoop, bound: NIOLoopBound(self, eventLoop: self.eventLoop))
    }

    /// A newer consensus came.
    func update(_ view: NetworkView) {
        self.view = view
        self.queues.update(ceiling: view.parameters[.processQueueLimit], loopCount: self.shared.loopCount)
        for table in self.tables.values {
            table.link.update(view.linkLimits)
            self.identify(table)
        }
    }

    /// See what the newest consensus makes of a link's peer.
    private func identify(_ table: LinkTable) {
        let link = table.link
        let handle = LinkHandle(link, on: self)
        switch table.consensusChanged(listed: link.peerKey.flatMap { self.view.identity(ofLinkKey: $0) }) {
        case .none: break
        case .joined(let identity): self.shared.registry.opened(handle, to: identity, isDialled: link.isDialler)
        // An OR that has left the consensus keeps its circuits and gets no new ones.
        case .left(let identity): self.shared.registry.retire(handle.key, of: identity)
        case .replaced(let old, let new):
            self.shared.registry.retire(handle.key, of: old)
            self.shared.registry.opened(handle, to: new, isDialled: link.isDialler)
        }
    }

    /// The link of that key, while it is open.
    func openLink(_ key: ObjectIdentifier) -> Link? { self.tables[key]?.link }

    /// End all circuits and links: the OR is shutting down.
    func stop() {
        self.ticker?.cancel()
        self.queueTicker?.cancel()
        for table in self.tables.values.sorted(by: { $0.number < $1.number }) {
            for entry in table.orderedCircuits {
                guard case .previous(let circuit) = entry else { continue }
                self.fail(circuit, reason: .shuttingDown)
            }
            table.link.close()
        }
    }

    /// Circuits on all links of this loop, counted once, at the previous hop.
    var circuitCount: Int {
        self.tables.values.reduce(0) { sum, table in
            sum + table.circuits.values.lazy.filter { if case .previous = $0 { true } else { false } }.count
        }
    }

    private func tick() {
        let now = self.eventLoop.now
        for table in self.tables.values {
            for case .previous(let circuit) in table.circuits.values { circuit.exit?.tick(now: now) }
        }
    }

    private func queueTick() {
        for table in self.tables.values {
            for case .previous(let circuit) in table.circuits.values { circuit.exit.map(self.bytesChanged) }
        }
        // Those whose circuits are gone.
        for exit in self.queues.exits.values { self.bytesChanged(exit) }
    }

    /// Dial an OR; the registry hears of the link once it is open.
    func dial(_ router: ConsensusRouter, _ promise: EventLoopPromise<LinkHandle>) {
        let identity = router.identity
        guard let address = router.addresses.first else {
            self.shared.registry.diallingFailed(identity)
            return promise.fail(LinkError.closed)
        }
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.shared.dial(address, router.linkKey, self.eventLoop, self).whenComplete {
            let loop = bound.value
            switch $0 {
            case .success(let link):
                loop.dialling[ObjectIdentifier(link.value)] = Dialling(identity: identity, promise: promise)
            case .failure(let error):
                loop.shared.registry.diallingFailed(identity)
                promise.fail(error)
            }
        }
    }

    // MARK: Cells from the previous hop

    private func forward(
        _ command: CellCommand, _ cell: inout MutableRawSpan, on circuit: RelayCircuit
    ) throws(CircuitError) {
        try circuit.rules.forwardCellReceived(command)
        switch circuit.stage {
        case .relaying(let forward, let next):
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            // Nothing may be said to a hop that has another behind it.
            guard forward.forward(command: command.rawValue, body: &body) == nil else {
                throw .messageNotAllowed(.drop)
            }
            CellHeader(circuitID: next.id, command: command).write(to: &cell)
            if let link = next.local { return link.send(circuit: next.id, cell: cell.bytes) }
            self.passAcross(cell.bytes, to: next.link)
        case .last(let forward, _, _):
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            guard let tag = forward.forward(command: command.rawValue, body: &body) else {
                throw .cellNotRecognised
            }
            let payload = body.bytes.extracting(Cell.tagByteCount..<Cell.bodyByteCount)
            try self.recognised(payload, tag: tag, command, on: circuit)
        case .extending(let forward, _):
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            guard forward.forward(command: command.rawValue, body: &body) != nil else { throw .cellNotRecognised }
            // This hop has ceased to be the last: padding may still come, and is not counted any more.
            var walker = RelayMessageWalker()
            let payload = body.bytes.extracting(Cell.tagByteCount..<Cell.bodyByteCount)
            while let message = try walker.nextMessage(in: payload) {
                try circuit.rules.messageReceived(message.command)
            }
        case .handshaking: throw .replyNotDue
        case .closed: break
        }
    }

    private func recognised(
        _ payload: RawSpan, tag: CellTag, _ command: CellCommand, on circuit: RelayCircuit
    ) throws(CircuitError) {
        var walker = RelayMessageWalker()
        guard let first = try walker.nextMessage(in: payload), first.command == .extend else {
            guard
                let exit = circuit.exit(make: { backward in
                    ExitCircuit(circuit: circuit, backward: backward, loop: self)
                })
            else {
                throw .cellNotRecognised
            }
            return exit.cellReceived(payload: payload, tag: tag)
        }
        // Extend travels alone, and once there has been a stream this hop stays the last. Padding does no harm.
        guard try walker.nextMessage(in: payload) == nil, circuit.exit?.isUnused ?? true else {
            throw .messageNotAllowed(.extend)
        }
        let data = ByteBuffer(bytes: payload.extracting(first.data).withUnsafeBytes { [UInt8]($0) })
        let extend = try CircuitError.decoding(.extend) { () throws(CellError) in try Extend(data: data) }
        try circuit.rules.extendReceived(
            to: extend.identity, in: command, ownIdentity: self.shared.identity,
            previousHop: circuit.previousHop.identity)
        guard case .last(let forward, let backward, let exit) = circuit.stage else { throw .extendTwice }
        exit?.destroyed()
        circuit.set(.extending(forward: forward, backward: backward))
        self.extend(circuit, extend)
    }

    /// Put a cell that was read on its way over a link of another loop.
    private func passAcross(_ cell: RawSpan, to target: LinkHandle) {
        self.outbox.append(cell, to: target)
        guard !self.isOutboxFlushScheduled else { return }
        self.isOutboxFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute { bound.value.flushOutbox() }
    }

    private func flushOutbox() {
        self.isOutboxFlushScheduled = false
        self.outbox.flush()
    }

    // MARK: Cells from the next hop

    private func backward(
        _ command: CellCommand, _ cell: inout MutableRawSpan, on circuit: NextHopCircuit
    ) throws(CircuitError) {
        try RouterCircuit.backwardCellReceived(command)
        guard let cipher = circuit.backward else { throw .replyNotDue }
        var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
        cipher.backward(command: command.rawValue, body: &body)
        let id = circuit.previous.id
        CellHeader(circuitID: id, command: command).write(to: &cell)
        if let link = circuit.previousLink { return link.send(circuit: id, cell: cell.bytes) }
        self.passAcross(cell.bytes, to: circuit.previous.link)
    }

    // MARK: Ends

    /// The previous hop, or this OR, ends the circuit: do what has to be done ahead.
    private func perform(_ action: RouterCircuit.OnNearEnd, on circuit: RelayCircuit) {
        let stage = circuit.stage
        circuit.set(.closed)
        self.remove(circuit.id, from: circuit.link)
        switch (action, stage) {
        case (.destroyNextHop, .relaying(_, let next)):
            // Cells on their way to the next loop go first.
            self.flushOutbox()
            let bound = next.circuit
            next.link.loop.run { $0.end(bound.value, telling: nil, destroy: true) }
        case (_, .last(_, _, let exit)): exit?.destroyed()
        case (.abandonExtend, _), (.endStreams, _), (.none, _), (.destroyNextHop, _): break
        }
    }

    /// End the circuit from here, for a rule that was broken or a limit that was reached.
    func fail(_ circuit: RelayCircuit, reason: DestroyReason) {
        guard self.contains(circuit) else { return }
        circuit.link.dropQueue(of: circuit.id)
        circuit.link.send(circuit: circuit.id, command: .destroy, body: [reason.rawValue])
        self.perform(circuit.rules.failed(), on: circuit)
    }

    func contains(_ circuit: RelayCircuit) -> Bool {
        guard case .previous(let found) = self.tables[ObjectIdentifier(circuit.link)]?.circuits[circuit.id] else {
            return false
        }
        return found === circuit
    }

    /// There is no way ahead any more: tell the client with Truncated, then end the circuit.
    ///
    /// - Parameter backward: the cipher that had been moved to the next link's loop.
    func nextHopGone(_ circuit: RelayCircuit, _ reason: DestroyReason, backward moved: HopCipher? = nil) {
        guard case .truncateThenDestroy(let reason) = circuit.rules.nextHopGone(reason) else { return }
        var cipher = moved
        if case .extending(_, let backward) = circuit.stage { cipher = backward }
        if let cipher { self.originate(.truncated, data: [reason.rawValue], with: cipher, on: circuit) }
        circuit.link.send(circuit: circuit.id, command: .destroy, body: [reason.rawValue])
        circuit.set(.closed)
        self.remove(circuit.id, from: circuit.link)
    }

    /// End the half of a circuit that lies towards the next hop.
    ///
    /// - Parameters:
    ///   - reason: what the previous hop's half hears; nil if that is where the end comes from.
    ///   - destroy: whether the next OR is to be told.
    func end(_ circuit: NextHopCircuit, telling reason: DestroyReason?, destroy: Bool) {
        // Ids serve once: what has this one is this circuit.
        guard case .next = self.tables[ObjectIdentifier(circuit.link)]?.circuits[circuit.id] else { return }
        circuit.timer?.cancel()
        if destroy {
            // Reason 0: whatever the client's side said or did is not for those ahead.
            circuit.link.send(
                circuit: circuit.id, command: .destroy, body: [DestroyReason.unspecified.rawValue])
        }
        self.remove(circuit.id, from: circuit.link)
        guard let reason else { return }
        self.flushOutbox()
        let previous = circuit.previous
        let backward = circuit.backward
        circuit.backward = nil
        previous.link.loop.run { $0.nextHopGone(previous.circuit.value, reason, backward: backward) }
    }

    private func remove(_ id: CircuitID, from link: Link) {
        guard case .previous = self.tables[ObjectIdentifier(link)]?.remove(id) else { return }
        self.shared.admission.circuitEnded(link.remoteAddress)
    }
}

extension RouterLoop: LinkOwner {
    func linkOpened(_ link: Link) {
        let dialling = self.dialling.removeValue(forKey: ObjectIdentifier(link))
        link.update(self.view.linkLimits)
        let identity = dialling?.identity ?? link.peerKey.flatMap { self.view.identity(ofLinkKey: $0) }
        self.openedLinkCount += 1
        let table = LinkTable(number: self.openedLinkCount, link: link, identity: identity)
        self.tables[ObjectIdentifier(link)] = table
        if !link.isDialler, let address = link.remoteAddress { self.shared.admission.linkOpened(address) }
        let handle = LinkHandle(link, on: self)
        if let identity { self.shared.registry.opened(handle, to: identity, isDialled: link.isDialler) }
        // One that was dialled may have left the consensus since.
        self.identify(table)
        dialling?.promise.succeed(handle)
    }

    func link(_ link: Link, received cells: inout CellBatch) {
        guard let table = self.tables[ObjectIdentifier(link)] else { return }
        cells.forEachCell { header, cell in
            guard header.circuitID != .link, !table.isClosed else { return }
            self.cellReceived(header, &cell, on: table)
        }
    }

    private func cellReceived(_ header: CellHeader, _ cell: inout MutableRawSpan, on table: LinkTable) {
        if header.command == .create {
            let body = cell.bytes.extracting(Cell.headerByteCount..<Cell.byteCount)
            return self.createReceived(header.circuitID, body, on: table)
        }
        guard let entry = table.entry(header.circuitID) else {
            return self.shared.metrics.cellsForUnknownCircuits.increment()
        }
        do throws(CircuitError) {
            switch (header.command, entry) {
            case (.relay, .previous(let circuit)): try self.forward(.relay, &cell, on: circuit)
            case (.relayEarly, .previous(let circuit)): try self.forward(.relayEarly, &cell, on: circuit)
            case (.relay, .next(let circuit)): try self.backward(.relay, &cell, on: circuit)
            case (.relayEarly, .next(let circuit)): try self.backward(.relayEarly, &cell, on: circuit)
            // Whoever destroys a circuit has no use for what still waits for it.
            case (.destroy, .previous(let circuit)):
                table.link.dropQueue(of: header.circuitID)
                self.perform(circuit.rules.previousHopGone(), on: circuit)
            case (.destroy, .next(let circuit)):
                table.link.dropQueue(of: header.circuitID)
                self.end(circuit, telling: .destroyedByNextHop, destroy: false)
            case (.created, .next(let circuit)):
                self.createdReceived(cell.bytes.extracting(Cell.headerByteCount..<Cell.byteCount), on: circuit)
            case (.padding, _): break
            case (.created, .previous), (.create, _), (.netInfo, _), (.ping, _), (.pong, _), (nil, _):
                throw .replyNotDue
            }
        } catch {
            self.shared.metrics.violations.increment()
            switch entry {
            case .previous(let circuit): self.fail(circuit, reason: error.destroyReason)
            case .next(let circuit): self.end(circuit, telling: .protocolViolation, destroy: true)
            }
        }
    }

    func link(_ link: Link, hasRoomFor circuit: CircuitID) {
        guard case .previous(let circuit) = self.tables[ObjectIdentifier(link)]?.circuits[circuit] else { return }
        circuit.exit?.roomAvailable()
    }

    func link(_ link: Link, overflowed circuit: CircuitID) {
        self.shared.metrics.reached(.linkQueue)
        switch self.tables[ObjectIdentifier(link)]?.circuits[circuit] {
        case .previous(let circuit): self.fail(circuit, reason: .resourceLimit)
        case .next(let circuit):
            link.dropQueue(of: circuit.id)
            self.end(circuit, telling: .resourceLimit, destroy: true)
        case nil:
            // It has ended. If all that waits is the cell that tells the peer so, others like it fill the link, and
            // dropping this one for another would be done for ever.
            guard link.backlog(of: circuit) > 1 else { return link.close(.frozen) }
            link.dropQueue(of: circuit)
            link.send(circuit: circuit, command: .destroy, body: [DestroyReason.unspecified.rawValue])
        }
    }

    func linkMayGrow(_ link: Link) -> Bool {
        guard let table = self.tables[ObjectIdentifier(link)] else { return false }
        let isRouter = link.isDialler || table.peer.isListed
        table.largeBuffers = self.shared.admission.lendsLargeBuffers(to: link.remoteAddress, isRouter: isRouter)
        return table.largeBuffers != nil
    }

    func linkClosed(_ link: Link, error: LinkError) {
        let key = ObjectIdentifier(link)
        self.shared.handshakes.removeAll(from: key)
        if let dialling = self.dialling.removeValue(forKey: key) {
            self.shared.registry.diallingFailed(dialling.identity)
            dialling.promise.fail(error)
        }
        guard let table = self.tables[key] else { return }
        if !link.isDialler, let address = link.remoteAddress { self.shared.admission.linkClosed(address) }
        if let largeBuffers = table.largeBuffers { self.shared.admission.giveBack(largeBuffers) }
        table.isClosed = true
        if let identity = table.identity { self.shared.registry.retire(key, of: identity) }
        for entry in table.orderedCircuits {
            switch entry {
            case .previous(let circuit): self.perform(circuit.rules.previousHopGone(), on: circuit)
            case .next(let circuit): self.end(circuit, telling: .linkLost, destroy: false)
            }
        }
        self.tables[key] = nil
    }
}

@available(*, unavailable)
extension RouterLoop: Sendable {}
