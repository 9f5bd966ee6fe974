import CoreMetrics
import NIOCore
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams

// How circuits come to be here: Create from the previous hop, and Extend to the next.

extension RouterLoop {
    // MARK: Create

    func createReceived(_ id: CircuitID, _ body: RawSpan, on table: LinkTable) {
        let link = table.link
        // The peer dialled exactly if we did not; and each id serves once.
        guard id.isAllocatedByDialler != link.isDialler, table.usedIDs.insert(id) else {
            self.shared.metrics.violations.increment()
            switch table.circuits[id] {
            case .previous(let circuit): return self.fail(circuit, reason: .protocolViolation)
            case .next(let circuit): return self.end(circuit, telling: .protocolViolation, destroy: true)
            case nil: return self.refuse(id, .protocolViolation, on: table)
            }
        }
        guard let create = try? HandshakeBody.create(in: body) else {
            return self.refuse(id, .handshakeFailed, on: table)
        }
        guard self.shared.isAccepting, table.peer.mayCreate else { return self.refuse(id, .resourceLimit, on: table) }
        if let limit = self.limitReached(byCreateOn: table) {
            self.shared.metrics.reached(limit)
            return self.refuse(id, .resourceLimit, on: table)
        }
        let circuit = RelayCircuit(id: id, link: link, previousHop: table.peer)
        table.insert(.previous(circuit), id)
        let reference = self.reference
        let bound = NIOLoopBound(circuit, eventLoop: self.eventLoop)
        let isRouter = table.peer.isListed
        self.shared.handshakes.answer(create, from: ObjectIdentifier(link), isRouter: isRouter) { answer in
            // Always by the queue: the answer may come before this returns.
            reference.eventLoop.execute { reference.run { $0.handshakeAnswered(answer, bound.value) } }
        }
    }

    /// Which limit keeps the peer from one more circuit; if none does, the circuit is counted in.
    private func limitReached(byCreateOn table: LinkTable) -> RouterLimit? {
        guard table.hasRoom(self.view.parameters) else { return .circuitsPerLink }
        let address = table.link.remoteAddress
        if table.peer.isClient, let address, !self.shared.admission.takesCreate(from: address) {
            return .createsPerAddress
        }
        return self.shared.admission.limitReached(byCircuitFrom: address, isListed: table.peer.isListed)
    }

    /// Answer a Create that comes to nothing.
    ///
    /// Each has an id of its own, so that no circuit's limit holds: a client that does not read the answers loses its
    /// link, once more of them wait than its circuits could account for.
    private func refuse(_ id: CircuitID, _ reason: DestroyReason, on table: LinkTable) {
        let limit = 2 * self.view.parameters[.circuitsPerClientLink]
        if table.identity == nil, table.link.waitingCircuitCount > limit {
            self.shared.metrics.reached(.linkQueue)
            return table.link.close(.frozen)
        }
        table.link.send(circuit: id, command: .destroy, body: [reason.rawValue])
    }

    private func handshakeAnswered(
        _ result: Result<HandshakeService.Answer, HandshakeService.Refusal>, _ circuit: RelayCircuit
    ) {
        guard self.contains(circuit) else { return }
        switch result {
        case .success(let answer):
            circuit.established(answer.keys)
            circuit.link.send(circuit: circuit.id, command: .created, body: answer.created)
            self.shared.metrics.circuits.increment()
        case .failure(.bad): self.fail(circuit, reason: .handshakeFailed)
        // Nothing is wrong with either side: the client is not to look for the fault in its guard.
        case .failure(.busy): self.fail(circuit, reason: .resourceLimit)
        }
    }

    // MARK: Extend

    func extend(_ circuit: RelayCircuit, _ extend: Extend) {
        let bound = NIOLoopBound((self, circuit), eventLoop: self.eventLoop)
        guard let router = self.view.router(extend.identity) else {
            // Perhaps it has only just joined.
            self.shared.refreshView(on: self.eventLoop).whenComplete { result in
                let (loop, circuit) = bound.value
                guard case .success(let view) = result, let router = view.router(extend.identity) else {
                    return loop.nextHopGone(circuit, .connectFailed)
                }
                loop.connect(circuit, to: router, create: extend.create)
            }
            return
        }
        self.connect(circuit, to: router, create: extend.create)
    }

    private func connect(_ circuit: RelayCircuit, to router: ConsensusRouter, create: [UInt8]) {
        guard circuit.rules.isExtending else { return }
        let bound = NIOLoopBound((self, circuit), eventLoop: self.eventLoop)
        let previous = NextHopCircuit.PreviousHop(
            link: LinkHandle(circuit.link, on: self), id: circuit.id,
            circuit: NIOLoopBound(circuit, eventLoop: self.eventLoop))
        self.shared.link(to: router, on: self.eventLoop).hop(to: self.eventLoop).whenComplete { result in
            let (loop, circuit) = bound.value
            guard circuit.rules.isExtending else { return }
            switch result {
            case .success(let handle):
                handle.loop.run { $0.create(over: handle, create, previous: previous) }
            case .failure: loop.nextHopGone(circuit, .connectFailed)
            }
        }
    }

    /// Send a Create to the next OR, for a circuit whose previous hop may live on another loop.
    private func create(over handle: LinkHandle, _ create: [UInt8], previous: NextHopCircuit.PreviousHop) {
        let gone: @Sendable (RouterLoop) -> Void = { $0.nextHopGone(previous.circuit.value, .connectFailed) }
        guard let table = self.tables[handle.key] else { return previous.link.loop.run(gone) }
        guard table.hasRoom(self.view.parameters) else {
            self.shared.metrics.reached(.circuitsPerLink)
            return previous.link.loop.run(gone)
        }
        guard let id = table.ids.allocate() else {
            if let identity = table.identity { self.shared.registry.retire(handle.key, of: identity) }
            return previous.link.loop.run(gone)
        }
        let circuit = NextHopCircuit(id: id, link: table.link, previous: previous)
        table.insert(.next(circuit), id)
        let bound = NIOLoopBound((self, circuit), eventLoop: self.eventLoop)
        circuit.timer = self.eventLoop.scheduleTask(in: Self.createTimeLimit) {
            let (loop, circuit) = bound.value
            loop.end(circuit, telling: .connectFailed, destroy: true)
        }
        table.link.send(circuit: id, command: .create, body: create)
    }

    func createdReceived(_ body: RawSpan, on circuit: NextHopCircuit) {
        // Extensions can make a Created longer than what an Extended carries.
        guard !circuit.isCreated, let created = try? HandshakeBody.created(in: body),
            created.count <= RelayMessageHeader.maximumDataByteCount
        else {
            return self.end(circuit, telling: .handshakeFailed, destroy: true)
        }
        circuit.isCreated = true
        circuit.timer?.cancel()
        circuit.timer = nil
        let previous = circuit.previous
        let link = LinkHandle(circuit.link, on: self)
        let id = circuit.id
        let next = NIOLoopBound(circuit, eventLoop: self.eventLoop)
        previous.link.loop.run { $0.nextHopCreated(previous.circuit.value, link: link, id: id, next, created) }
    }

    private func nextHopCreated(
        _ circuit: RelayCircuit, link: LinkHandle, id: CircuitID, _ next: NIOLoopBound<NextHopCircuit>,
        _ created: [UInt8]
    ) {
        guard case .sendExtended? = try? circuit.rules.nextHopCreated(),
            case .extending(let forward, let backward) = circuit.stage
        else {
            return link.loop.run { $0.end(next.value, telling: nil, destroy: true) }
        }
        self.originate(.extended, data: created, with: backward, on: circuit)
        let local = link.loop.eventLoop === self.eventLoop ? link.bound.value : nil
        circuit.set(
            .relaying(forward: forward, next: RelayCircuit.NextHop(link: link, local: local, id: id, circuit: next)))
        // From here on the next link's loop adds this hop's layer to what goes back.
        link.loop.run { _ in next.value.backward = backward }
    }

    /// Send a relay message of this OR's own towards the client.
    func originate(_ command: RelayCommand, data: [UInt8], with cipher: HopCipher, on circuit: RelayCircuit) {
        circuit.link.send(circuit: circuit.id) { cell in
            CellHeader(circuitID: circuit.id, command: .relay).write(to: &cell)
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            var payload = body._mutatingExtracting(Cell.tagByteCount..<Cell.bodyByteCount)
            self.padding.pack(command, streamID: .circuit, data: data, into: &payload)
            _ = cipher.originate(command: CellCommand.relay.rawValue, body: &body)
        }
    }
}
