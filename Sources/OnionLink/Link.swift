import Logging
package import NIOCore
package import OnionAddress
package import OnionCells
package import OnionCrypto

/// What a link tells the one that uses it. All calls come on the link's event loop.
package protocol LinkOwner: AnyObject {
    /// TLS is up and the peer's NetInfo is here: cells may be sent.
    func linkOpened(_ link: Link)
    /// Cells that one read brought, in order; those about the link itself are among them and are to be skipped.
    func link(_ link: Link, received cells: inout CellBatch)
    /// A circuit's queue on this link has drained: whoever makes cells for it may go on.
    func link(_ link: Link, hasRoomFor circuit: CircuitID)
    /// The circuit's queue is longer than the rules allow: it is to be destroyed.
    func link(_ link: Link, overflowed circuit: CircuitID)
    /// Cells were queued or left their queues since the last call, those of closed links included; once a turn at most,
    /// and never while the link has room for everything.
    func link(_ link: Link, queuesChanged traffic: [CircuitID: QueueTraffic])
    /// The link carries bulk: whether it may have large buffers, until it closes. If not, it asks again later.
    func linkMayGrow(_ link: Link) -> Bool
    /// The link is gone, and all its circuits with it. The last call.
    func linkClosed(_ link: Link, error: LinkError)
}

extension LinkOwner {
    /// For those that have few links.
    package func linkMayGrow(_ link: Link) -> Bool { true }
    /// For those that keep no account of what is queued.
    package func link(_ link: Link, queuesChanged traffic: [CircuitID: QueueTraffic]) {}
}

/// One TLS connection between two nodes: whole cells in and out, in batches, on one event loop.
///
/// Owns the connection, the cells about the link itself (NetInfo, Ping, Pong, Padding), and the queues of cells that
/// wait for it. Knows nothing of what a circuit means.
///
///     TLS handshake ──▶ NetInfo sent, peer's awaited ──▶ open ──▶ closed
///
/// Cells given to ``send(circuit:fill:)`` leave at the end of the loop's turn, in one write, or wait in their
/// circuit's queue while the connection is not writable.
///
/// - Source: DESIGN §5, §7 *Link*, §8
package final class Link {
    package let eventLoop: any EventLoop
    /// Whether this side dialled; decides the high bit of the circuit ids that this side allocates.
    package let isDialler: Bool
    /// Where the peer is, as the socket says.
    package let remoteAddress: IPAddress?
    /// How many circuits use the link; kept by the owner. With 0 the link closes after a minute, unwatched.
    package var circuitCount = 0

    private enum State {
        case handshaking
        case awaitingNetInfo(timer: Scheduled<Void>)
        case open(peer: NetInfo)
        case closed
    }

    private var state = State.handshaking
    private var owner: (any LinkOwner)?
    private let peer: PeerKey
    private let netInfo: @Sendable (_ observed: IPAddress?) -> NetInfo
    private var context: ChannelHandlerContext?
    private var liveness: LinkLiveness
    private var ticker: RepeatedTask?
    private var partialCell = ByteBuffer()
    private var outgoing: OutgoingCells
    private var isFlushScheduled = false
    private var isReportScheduled = false
    private var isWriting = false
    private var isReading = false
    /// Whether the owner has not just been asked for large buffers.
    private var mayAskToGrow = true
    private var closeError = LinkError.closed

    /// How long the peer may take to say NetInfo once TLS is up.
    static let netInfoTimeLimit = TimeAmount.seconds(10)

    init(
        channel: any Channel, isDialler: Bool, peer: PeerKey, owner: any LinkOwner, limits: LinkLimits,
        netInfo: @escaping @Sendable (IPAddress?) -> NetInfo
    ) {
        self.eventLoop = channel.eventLoop
        self.isDialler = isDialler
        self.remoteAddress = channel.remoteAddress.flatMap(Endpoint.init)?.address
        self.peer = peer
        self.owner = owner
        self.netInfo = netInfo
        self.outgoing = OutgoingCells(limits: limits, now: channel.eventLoop.now)
        self.liveness = LinkLiveness(now: channel.eventLoop.now)
        self.liveness.update(limits)
    }

    /// The link key that the peer proved; nil for a peer that showed none: a proxy.
    package var peerKey: Ed25519PublicKey? { self.peer.publicKey }

    /// What the peer said of its clock and of us; nil until the link is open.
    package var peerNetInfo: NetInfo? {
        if case .open(let peer) = self.state { peer } else { nil }
    }

    package var isOpen: Bool {
        if case .open = self.state { true } else { false }
    }

    // MARK: Sending

    /// Append one cell of `circuit`; `fill` writes all of it, header included, before this returns.
    ///
    /// Cells of one circuit leave in the order of the calls. On a closed link the cell is written and forgotten, so that
    /// a cipher's state stays in step.
    package func send(circuit: CircuitID, fill: (inout MutableRawSpan) -> Void) {
        self.appended(self.outgoing.append(circuit: circuit, fill: fill), circuit)
    }

    /// Append a cell that was read elsewhere and has its new header.
    package func send(circuit: CircuitID, cell: RawSpan) {
        self.appended(self.outgoing.append(circuit: circuit, cell: cell), circuit)
    }

    /// Append a cell without onion: Create, Created, Destroy and the like. The rest of the body is zero.
    package func send(circuit: CircuitID, command: CellCommand, body: some Collection<UInt8>) {
        precondition(body.count <= Cell.bodyByteCount, "a body is at most \(Cell.bodyByteCount) bytes")
        self.send(circuit: circuit) { cell in
            cell.withUnsafeMutableBytes { bytes in
                bytes.initializeMemory(as: UInt8.self, repeating: 0)
                UnsafeMutableRawBufferPointer(rebasing: bytes[Cell.headerByteCount...]).copyBytes(from: body)
            }
            CellHeader(circuitID: circuit, command: command).write(to: &cell)
        }
    }

    /// Append whole cells that another event loop has made ready, in order.
    package func send(batch cells: ByteBuffer) {
        var overflowed: [CircuitID] = []
        self.outgoing.append(batch: cells, overflowed: &overflowed)
        for circuit in overflowed { self.overflowed(circuit) }
        self.scheduleReport()
        if self.outgoing.batchByteCount >= self.outgoing.buffers.fullBatchByteCount { return self.flush() }
        self.scheduleFlush()
    }

    private func overflowed(_ circuit: CircuitID) {
        // Not from within the call that found out: it may be in the middle of making the cell.
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute {
            let link = bound.value
            // An allowed race: it has been dropped or sent since, perhaps for an overflow that was told before.
            guard link.outgoing.isOverLimit(circuit) else { return }
            // A peer that makes us answer and does not read the answers.
            if circuit == .link { return link.close(.frozen) }
            link.owner?.link(link, overflowed: circuit)
        }
    }

    /// How many cells of `circuit` wait for the connection.
    package func backlog(of circuit: CircuitID) -> Int { self.outgoing.backlog(of: circuit) }

    /// Forget the cells of `circuit` that wait.
    package func dropQueue(of circuit: CircuitID) {
        self.outgoing.drop(circuit)
        self.scheduleReport()
    }

    /// How many circuits have cells waiting, those that have ended included.
    package var waitingCircuitCount: Int { self.outgoing.waitingCircuitCount }

    /// Bytes of all cells that wait.
    package var queuedByteCount: Int { self.outgoing.queuedByteCount }

    /// What the owner has been told that the link holds: those bytes, and what a blocked connection counts for.
    var reportedByteCount: Int { self.outgoing.queuedByteCount + self.outgoing.connectionByteCount }

    /// Tell the owner at the end of the turn what the queues have gained and lost in it.
    private func scheduleReport() {
        guard !self.isReportScheduled, self.outgoing.hasTraffic else { return }
        self.isReportScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute { bound.value.report() }
    }

    /// Tell the owner at once what the queues have gained and lost since it last heard.
    package func report() {
        self.isReportScheduled = false
        guard self.outgoing.hasTraffic, let owner else { return }
        owner.link(self, queuesChanged: self.outgoing.takeTraffic())
    }

    private func appended(_ result: OutgoingCells.Appended, _ circuit: CircuitID) {
        switch result {
        // Nearly always. The first has seen to it that the batch leaves.
        case .more: return
        case .first: self.scheduleFlush()
        case .full: self.flush()
        case .queued(let isOverLimit):
            if isOverLimit { self.overflowed(circuit) }
            self.scheduleReport()
        }
    }

    private func scheduleFlush() {
        guard !self.isFlushScheduled, self.outgoing.batchByteCount > 0 else { return }
        self.isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute { bound.value.flush() }
    }

    private func flush() {
        self.isFlushScheduled = false
        self.writeBatch()
        if self.outgoing.hasWaiting, !self.outgoing.isBlocked { self.drain() }
    }

    private func writeBatch() {
        if case .closed = self.state { return self.outgoing.discardBatch() }
        guard let context else { return self.outgoing.discardBatch() }
        while let batch = self.outgoing.takeBatch() {
            if batch.readableBytes >= LinkBuffers.small.fullBatchByteCount { self.askToGrow() }
            self.isWriting = true
            context.writeAndFlush(NIOAny(batch), promise: nil)
            self.isWriting = false
            if case .closed = self.state { return }
        }
        self.outgoing.isBlocked = !context.channel.isWritable
        self.scheduleReport()
    }

    /// Move what waits into the connection, quiet circuits first, as long as it takes more.
    private func drain() {
        // The connection may tell of its writability from within a write: whoever writes sees afterwards whether there is
        // room.
        guard !self.isWriting, let context else { return }
        if case .closed = self.state { return }
        var drained: [CircuitID] = []
        self.outgoing.isBlocked = !context.channel.isWritable
        while !self.outgoing.isBlocked, self.outgoing.fillBatch(now: self.eventLoop.now, drained: &drained) {
            self.writeBatch()
        }
        self.scheduleReport()
        for circuit in drained { self.owner?.link(self, hasRoomFor: circuit) }
    }

    /// As much as small buffers take has been read or is written at once.
    private func askToGrow() {
        guard self.mayAskToGrow, case .open = self.state, let context, let owner else { return }
        self.mayAskToGrow = false
        guard owner.linkMayGrow(self) else { return }
        self.outgoing.buffers = .large
        LinkBuffers.large.set(on: context.channel)
    }

    // MARK: Events

    func attached(to context: ChannelHandlerContext) { self.context = context }

    func detached() {
        self.ended()
        self.context = nil
    }

    func handshakeCompleted() {
        guard case .handshaking = self.state else { return }
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.state = .awaitingNetInfo(
            timer: self.eventLoop.scheduleTask(in: Self.netInfoTimeLimit) { bound.value.close(.netInfoTimedOut) })
        self.outgoing.isBlocked = self.context.map { !$0.channel.isWritable } ?? true
        var body = ByteBuffer()
        self.netInfo(self.remoteAddress).write(to: &body)
        self.send(circuit: .link, command: .netInfo, body: body.readableBytesView)
    }

    func writabilityChanged() { self.drain() }

    func bytesReceived(_ buffer: ByteBuffer) {
        if case .closed = self.state { return }
        // A write that fails reads the socket out before it closes it, perhaps from within the cells of the last read.
        // Those are not done with, and the link is at its end: what comes then is not looked at.
        guard !self.isReading else { return }
        self.isReading = true
        defer { self.isReading = false }
        self.liveness.received(now: self.eventLoop.now)
        if buffer.readableBytes >= LinkBuffers.small.fullBatchByteCount { self.askToGrow() }
        var buffer = buffer
        // First the cell that the last read left incomplete; then the rest in place.
        if self.partialCell.readableBytes > 0 {
            let missing = min(Cell.byteCount - self.partialCell.readableBytes, buffer.readableBytes)
            if var slice = buffer.readSlice(length: missing) { self.partialCell.writeBuffer(&slice) }
            guard self.partialCell.readableBytes == Cell.byteCount else { return }
            self.cellsReceived(CellBatch(wholeCellsOf: self.partialCell))
            self.partialCell.clear()
        }
        let rest = buffer.readableBytes % Cell.byteCount
        if buffer.readableBytes >= Cell.byteCount { self.cellsReceived(CellBatch(wholeCellsOf: buffer)) }
        self.partialCell.writeBytes(buffer.readableBytesView.suffix(rest))
    }

    private func cellsReceived(_ cells: consuming CellBatch) {
        do throws(LinkError) {
            // A read holds nothing about the link but for a few cells: look for those first, then hand on the whole.
            var isOpen = self.isOpen
            try cells.forEachCell { header, cell throws(LinkError) in
                guard header.circuitID == .link else {
                    guard isOpen else { throw LinkError.unexpectedCell(.relay) }
                    return
                }
                try self.linkCellReceived(header, body: cell.bytes.extracting(droppingFirst: Cell.headerByteCount))
                isOpen = self.isOpen
            }
            guard isOpen else { throw LinkError.unexpectedCell(.relay) }
        } catch {
            return self.close(error)
        }
        self.owner?.link(self, received: &cells)
    }

    private func linkCellReceived(_ header: CellHeader, body: RawSpan) throws(LinkError) {
        switch header.command {
        case .netInfo:
            guard case .awaitingNetInfo(let timer) = self.state else { throw .unexpectedCell(.netInfo) }
            timer.cancel()
            let netInfo: NetInfo
            do throws(CellError) {
                netInfo = try NetInfo(body: ByteBuffer(bytes: body.withUnsafeBytes { $0.prefix(32) }))
            } catch {
                throw .malformedCell(error)
            }
            self.opened(peer: netInfo)
        case .padding, .pong:
            // NetInfo comes first.
            guard case .open = self.state else { throw .unexpectedCell(.padding) }
        case .ping:
            guard case .open = self.state else { throw .unexpectedCell(.ping) }
            self.send(circuit: .link, command: .pong, body: body.withUnsafeBytes { [UInt8]($0.prefix(8)) })
        case .create, .created, .relay, .relayEarly, .destroy:
            throw .malformedCell(.unknownCommand(header.rawCommand))
        case nil: throw .malformedCell(.unknownCommand(header.rawCommand))
        }
    }

    private func opened(peer: NetInfo) {
        self.state = .open(peer: peer)
        self.scheduleTicks()
        self.owner?.linkOpened(self)
    }

    private func scheduleTicks() {
        self.ticker?.cancel()
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.ticker = self.eventLoop.scheduleRepeatedTask(
            initialDelay: self.liveness.tickInterval, delay: self.liveness.tickInterval
        ) { _ in bound.value.tick() }
    }

    /// The network's limits have changed: they count from now on, for what waits already too.
    package func update(_ limits: LinkLimits) {
        self.outgoing.limits = limits
        let tickInterval = self.liveness.tickInterval
        self.liveness.update(limits)
        if self.isOpen, self.liveness.tickInterval != tickInterval { self.scheduleTicks() }
    }

    // MARK: Closing

    /// Close the link: what was given to it before leaves, as far as the connection takes it. The owner hears
    /// ``LinkOwner/linkClosed(_:error:)`` before this returns, and nothing after.
    package func close(_ error: LinkError = .closed) {
        self.closeError = error
        self.flush()
        self.ended()
        // TLS gets a second for its farewell behind our back.
        self.context?.close(promise: nil)
    }

    private func tick() {
        switch self.liveness.tick(now: self.eventLoop.now, circuitCount: self.circuitCount) {
        case .none: break
        case .sendPing: self.send(circuit: .link, command: .ping, body: [0, 0, 0, 0, 0, 0, 0, 0])
        case .closeFrozen: self.close(.frozen)
        case .closeUnused: self.close()
        }
        self.outgoing.releaseIdleMemory(now: self.eventLoop.now)
        self.mayAskToGrow = self.outgoing.buffers != .large
    }

    func ended() {
        if case .closed = self.state { return }
        if case .awaitingNetInfo(let timer) = self.state { timer.cancel() }
        self.state = .closed
        self.ticker?.cancel()
        self.ticker = nil
        self.outgoing.discardAll(now: self.eventLoop.now)
        self.report()
        let owner = self.owner
        self.owner = nil
        owner?.linkClosed(self, error: self.closeError)
    }
}
