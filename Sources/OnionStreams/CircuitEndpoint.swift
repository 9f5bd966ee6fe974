import DequeModule
package import NIOCore
package import OnionCells
package import OnionCircuits
package import OnionCrypto

/// What one end of a circuit needs of the node that it lives in. All calls come on the circuit's event loop.
package protocol CircuitEndpointOwner: AnyObject {
    /// Whether the circuit's outgoing link has room for more cells of this circuit.
    func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool
    /// Encrypt and send one relay cell whose payload `fill` writes; return its tag.
    func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag
    /// A Begin or Resolve came, whose stream is not there yet. Only at the exit.
    func endpoint(_ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer)
        throws(CircuitError)
    /// A Truncated came. Only at the client.
    func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason)
    /// The peer broke a rule, or a limit was reached: the circuit is to be destroyed.
    func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError)
    /// A stream is over and forgotten.
    func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream)
    /// The streams have gained and lost a good many bytes: ``CircuitEndpoint/takeTraffic()`` says how many. Comes at the
    /// end of a turn.
    func endpointBytesChanged(_ endpoint: CircuitEndpoint)
}

extension CircuitEndpointOwner {
    /// For those that keep no account of what is queued.
    package func endpointBytesChanged(_ endpoint: CircuitEndpoint) {}
}

/// One end of a complete circuit: its streams, packed into cells under the congestion window. The client and the last
/// hop run the same code; which of them it is decides only who may say what.
///
/// Owns the streams, the window and the order in which messages go into cells. Does not know links, keys or sockets:
/// cells leave by ``CircuitEndpointOwner``, bytes by each stream's ``StreamSink``.
///
/// Sending is lazy: whatever is given to streams in a turn of the loop is packed at the turn's end, so that Begin and
/// Data, or Connected, Data and End, share a cell. Streams take turns (``StreamTurns``).
///
/// - Source: DESIGN §6.3, §7
package final class CircuitEndpoint {
    package let role: StreamLifecycle.Role
    package let eventLoop: any EventLoop
    package let limits: StreamLimits

    private weak var owner: (any CircuitEndpointOwner)?
    private var congestion: CongestionControl
    private var sendMeReceiver = SendMeReceiver()
    private var streams: [StreamID: OnionStream] = [:]
    /// SendMe, XOff, XOn: they go first and outside the window.
    private var urgent = Deque<UrgentMessage>()
    /// Streams with something to send.
    private var ready = StreamTurns()
    private var register = StreamRegister()
    private var isPumpScheduled = false
    private var isLatePumpScheduled = false
    private static let longestWait = TimeAmount.milliseconds(5)
    private var isPumping = false
    /// Streams that are in the cell being made; they hear of it once it is sent.
    private var packed: [OnionStream] = []
    private var isDestroyed = false
    /// Streams whose sockets still hold bytes, those that are over included.
    private var holding: [StreamID: OnionStream] = [:]
    private var addedByteCount = 0
    private var removedByteCount = 0
    private var isReportScheduled = false
    private let padding: PaddingSourceBox

    struct UrgentMessage {
        let command: RelayCommand
        let streamID: StreamID
        /// The tag of a SendMe, or the rate of an XOn.
        let data: ByteBuffer
    }

    package init(
        role: StreamLifecycle.Role, eventLoop: any EventLoop, congestion: CongestionParameters, limits: StreamLimits,
        padding: PaddingSourceBox, owner: any CircuitEndpointOwner
    ) {
        self.role = role
        self.eventLoop = eventLoop
        self.congestion = CongestionControl(parameters: congestion)
        self.limits = limits
        self.padding = padding
        self.owner = owner
    }

    package var streamCount: Int { self.streams.count }
    /// The round trip to the last hop as SendMes show it; zero before the first.
    package var smoothedRTT: TimeAmount { self.congestion.smoothedRTT }
    package var congestionWindow: Int { self.congestion.window }
    /// Streams opened over the circuit's whole life.
    package var openedStreamCount: Int { self.register.usedCount }

    // MARK: Receiving

    /// Take a cell that was recognised from, or at, the last hop.
    ///
    /// - Parameters:
    ///   - payload: the cell's body behind its tag.
    ///   - tag: the cell's tag, for the SendMe that it may complete.
    package func cellReceived(payload: RawSpan, tag: CellTag) {
        guard !self.isDestroyed else { return }
        do throws(CircuitError) {
            try self.receive(payload: payload, tag: tag)
        } catch {
            self.fail(error)
        }
    }

    private func receive(payload: RawSpan, tag: CellTag) throws(CircuitError) {
        // Counting comes before streams are looked at: what follows may close some.
        if try Self.isCounted(payload), let due = self.sendMeReceiver.cellReceived(tag: tag) {
            self.urgent.append(UrgentMessage(command: .sendMe, streamID: .circuit, data: ByteBuffer(bytes: due.bytes)))
            self.schedulePump()
        }
        var walker = RelayMessageWalker()
        var openings = 0
        while let message = try walker.nextMessage(in: payload) {
            let data = payload.extracting(message.data)
            try RelayRules.check(message.command, self.role == .exit ? .forward : .backward, .lastHop)
            switch message.command {
            case .data: try self.dataReceived(data, on: message.streamID)
            case .sendMe: try self.sendMeReceived(data)
            case .begin, .resolve:
                openings += 1
                guard openings <= StreamLimits.openingsPerCell else { throw .messageNotAllowed(message.command) }
                try self.openReceived(message.command, data, on: message.streamID)
            case .connected, .resolved, .end, .xOff, .xOn:
                try self.streamMessageReceived(message.command, data, on: message.streamID)
            case .truncated:
                let reason = data.byteCount == 1 ? data.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt8.self) : 0
                self.owner?.endpoint(self, truncated: DestroyReason(wire: reason))
                return
            case .drop: break
            case .extend, .extended: throw .messageNotAllowed(message.command)
            }
            if self.isDestroyed { return }
        }
    }

    /// Whether a cell is in the window: every one but those made only of SendMe, XOff and XOn.
    ///
    /// - Throws: ``CircuitError/messageNotAllowed(_:)`` for a cell without any message. Padding is a Drop.
    private static func isCounted(_ payload: RawSpan) throws(CircuitError) -> Bool {
        var walker = RelayMessageWalker()
        var isOnlyFlowControl = false
        while let message = try walker.nextMessage(in: payload) {
            guard message.command.isFlowControl else { return true }
            isOnlyFlowControl = true
        }
        guard isOnlyFlowControl else { throw .messageNotAllowed(.drop) }
        return false
    }

    private func dataReceived(_ data: RawSpan, on id: StreamID) throws(CircuitError) {
        guard let stream = self.streams[id] else {
            return try self.register.lateMessage(.data, on: id, cellCount: self.sendMeReceiver.cellCount)
        }
        try stream.dataReceived(data)
    }

    private func sendMeReceived(_ data: RawSpan) throws(CircuitError) {
        guard let tag = CellTag(data) else { throw .sendMeTagWrong }
        let isBlocked = self.owner.map { !$0.endpointHasRoom(self) } ?? true
        try self.congestion.sendMeReceived(tag: tag, now: self.eventLoop.now, isLinkBlocked: isBlocked)
        self.schedulePump()
    }

    private func openReceived(_ command: RelayCommand, _ data: RawSpan, on id: StreamID) throws(CircuitError) {
        try self.register.begin(id)
        // Those that are refused wait for cells too, and count as no streams.
        guard self.register.waitingCount < self.limits.waitingStreamCount else { throw .resourceLimit }
        let stream = OnionStream(id: id, endpoint: self, openedBy: command)
        self.streams[id] = stream
        try self.owner?.endpoint(self, opened: stream, by: command, data: ByteBuffer(data))
    }

    private func streamMessageReceived(
        _ command: RelayCommand, _ data: RawSpan, on id: StreamID
    ) throws(CircuitError) {
        let data = ByteBuffer(data)
        if let stream = self.streams[id] { return try stream.messageReceived(command, data) }
        if command == .end { return try self.register.lateEnd(try EndReason(data: data), on: id) }
        try self.register.lateMessage(command, on: id, cellCount: self.sendMeReceiver.cellCount)
    }

    // MARK: Streams

    /// Open a stream to the far end; its Begin or Resolve leaves at the end of the loop's turn. Only at the client.
    ///
    /// - Returns: nil when every id has been used: the circuit is to be retired.
    package func open(_ command: RelayCommand, data: ByteBuffer) -> OnionStream? {
        guard !self.isDestroyed, let id = self.register.allocate() else { return nil }
        let stream = OnionStream(id: id, endpoint: self, openedBy: command)
        self.streams[id] = stream
        stream.say(command, data)
        return stream
    }

    /// End every stream: the circuit is gone.
    package func destroy(_ reason: EndReason) {
        self.isDestroyed = true
        let streams = self.streams.sorted { $0.key < $1.key }.map(\.value)
        self.streams = [:]
        self.ready = StreamTurns()
        self.urgent = []
        for stream in streams { stream.circuitDestroyed(reason) }
    }

    /// Let go of every byte that the streams hold, those of streams that are over included. The circuit is gone, or goes.
    package func abandon() {
        for stream in self.holding.values { stream.abandon() }
    }

    /// Bytes that the streams hold: for cells, for sockets, or until there is a socket.
    package private(set) var queuedByteCount = 0

    /// After so many bytes gained and lost the owner is told.
    private static let reportedByteCount = 64 * 1024

    /// What the streams have gained and lost since this was last asked.
    package func takeTraffic() -> (added: Int, removed: Int) {
        defer { (self.addedByteCount, self.removedByteCount) = (0, 0) }
        return (self.addedByteCount, self.removedByteCount)
    }

    func bytesChanged(by change: Int, of stream: OnionStream) {
        if change > 0 {
            if stream.queuedByteCount == change { self.holding[stream.id] = stream }
            self.addedByteCount += change
        } else {
            if stream.queuedByteCount == 0 { self.holding[stream.id] = nil }
            self.removedByteCount -= change
        }
        self.queuedByteCount += change
        guard !self.isReportScheduled, self.addedByteCount + self.removedByteCount >= Self.reportedByteCount else {
            return
        }
        self.isReportScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        // Not from within the making or taking of a cell.
        self.eventLoop.execute {
            bound.value.isReportScheduled = false
            bound.value.owner?.endpointBytesChanged(bound.value)
        }
    }

    /// Called now and then, so that half-closed streams on which nothing moves end.
    package func tick(now: NIODeadline) {
        for stream in self.streams.values { stream.tick(now: now) }
    }

    func forget(_ stream: OnionStream) {
        guard self.streams[stream.id] === stream else { return }
        self.streams[stream.id] = nil
        self.register.ended(
            stream.id, peerEnded: stream.hasPeerEnded, isWaiting: stream.isQueued,
            cellCount: self.sendMeReceiver.cellCount)
        self.owner?.endpoint(self, closed: stream)
    }

    /// A stream that was over has left the queue.
    func saidAll() { self.register.saidAll(cellCount: self.sendMeReceiver.cellCount) }

    func fail(_ error: CircuitError) {
        guard !self.isDestroyed else { return }
        self.owner?.endpoint(self, failed: error)
    }

    // MARK: Sending

    /// The stream has something to send.
    ///
    /// - Parameter isUrgent: false if it may wait for what others have to send, 5 ms at most.
    func becameReady(_ stream: OnionStream, isUrgent: Bool) {
        self.ready.append(stream)
        if isUrgent { self.schedulePump() } else { self.schedulePumpLater() }
    }

    func sendUrgent(_ command: RelayCommand, _ data: ByteBuffer, on stream: OnionStream) {
        self.urgent.append(UrgentMessage(command: command, streamID: stream.id, data: data))
        self.schedulePump()
    }

    /// The outgoing link has room again.
    package func roomAvailable() { self.pump() }

    private func schedulePump() {
        guard !self.isPumpScheduled else { return }
        self.isPumpScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute { bound.value.pump() }
    }

    private func schedulePumpLater() {
        guard !self.isPumpScheduled, !self.isLatePumpScheduled else { return }
        self.isLatePumpScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.scheduleTask(in: Self.longestWait) {
            bound.value.isLatePumpScheduled = false
            bound.value.pump()
        }
    }

    /// Make cells of what there is to say, as long as window and link allow.
    private func pump() {
        self.isPumpScheduled = false
        // Sending may make room, and so lead here again: but cells are counted in the order in which they were made.
        guard !self.isPumping, let owner else { return }
        self.isPumping = true
        defer { self.isPumping = false }
        while !self.isDestroyed {
            self.ready.dropSilentStreams()
            let maySendStreams = !self.ready.isEmpty && self.congestion.canSend && owner.endpointHasRoom(self)
            guard maySendStreams || !self.urgent.isEmpty else { return }
            var isCounted = false
            let tag = owner.endpoint(self) { payload in
                isCounted = self.pack(into: &payload, streamsToo: maySendStreams)
            }
            if isCounted { self.congestion.cellSent(tag: tag, now: self.eventLoop.now) }
            // Only now: while the cell was made, its link was in the middle of a call.
            for stream in self.packed { stream.cellSent() }
            self.packed.removeAll(keepingCapacity: true)
        }
    }

    /// Fill one cell.
    ///
    /// - Returns: whether the cell holds more than flow control, so that the window counts it.
    private func pack(into payload: inout MutableRawSpan, streamsToo: Bool) -> Bool {
        var writer = RelayMessageWriter(leavesUnguessableTail: self.congestion.nextCellCompletesIncrement)
        while let message = self.urgent.first, message.data.readableBytes <= writer.room {
            writer.append(
                message.command, streamID: message.streamID, data: message.data.readableBytesSpan, into: &payload)
            self.urgent.removeFirst()
        }
        let flowControlEnd = writer.offset
        if streamsToo { self.packStreams(into: &payload, &writer) }
        if let rest = writer.finish(&payload) {
            var tail = payload._mutatingExtracting(rest)
            self.padding.fill(&tail)
        }
        return writer.offset > flowControlEnd
    }

    private func packStreams(into payload: inout MutableRawSpan, _ writer: inout RelayMessageWriter) {
        var openings = 0
        while let stream = self.ready.removeFirst() {
            self.packed.append(stream)
            switch stream.pack(into: &payload, &writer, openings: &openings) {
            case .nothingLeft: self.ready.left(stream)
            case .cellFull:
                self.ready.giveBack(stream, window: self.congestion.window, roundTrip: self.congestion.smoothedRTT)
                return
            }
        }
    }
}

@available(*, unavailable)
extension CircuitEndpoint: Sendable {}
