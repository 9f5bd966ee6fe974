package import NIOCore
package import OnionCells
import OnionCircuits

/// What a stream tells whoever uses it: the socket's edge, or the client's request. On the circuit's event loop.
package protocol StreamSink: AnyObject {
    /// Bytes came. The sink takes them all, and says ``OnionStream/drained(byteCount:)`` when its socket has.
    func streamReceived(_ data: RawSpan)
    /// The far end will send no more; the other direction goes on.
    func streamFinished()
    /// The stream has room for more of the socket's bytes.
    func streamHasRoom()
    /// Both directions are over; `finished` when both were completed in order. The last call.
    func streamEnded(_ reason: EndReason)
}

/// Who waits for a stream to open. Only at the client.
package protocol StreamOpener: AnyObject {
    func streamConnected(_ connected: Connected)
    func streamResolved(_ resolved: Resolved)
    func streamRefused(_ reason: EndReason)
}

/// One stream at one end of a circuit: what waits to be sent, and what was received before there was a socket.
///
/// Owns its ``StreamLifecycle``, XOff and XOn, and the bytes in both directions. Does not know cells: the
/// ``CircuitEndpoint`` asks it for messages when it makes one.
///
/// - Source: DESIGN §6.3, §7 *Stream*
package final class OnionStream {
    package let id: StreamID
    private weak var endpoint: CircuitEndpoint?
    private let eventLoop: any EventLoop
    let halfClosedIdle: TimeAmount
    private var lifecycle: StreamLifecycle
    private let isLookup: Bool
    private var gate: StreamGate
    private var gateTimer: Scheduled<Void>?
    private var xOff = XOffState()
    private var isOver = false
    private var endReason = EndReason.unspecified

    package weak var opener: (any StreamOpener)?
    private var sink: (any StreamSink)?

    /// Begin, Resolve, Connected or Resolved: goes before any data.
    private var opening: (command: RelayCommand, data: ByteBuffer)?
    private(set) var outbox = ByteBuffer()
    /// The End that follows what is in the outbox.
    private var farewell: EndReason?
    private(set) var isQueued = false
    /// Cells that it may fill ahead of streams that have more to say: see ``StreamTurns``.
    var headStart = StreamTurns.headStartCellCount
    private var silentSince: NIODeadline
    /// Whether the last cell emptied the outbox.
    private var isOutboxEmptied = false
    private var lastMovedAt: NIODeadline

    /// What came before there was a sink.
    private var held = ByteBuffer()
    private var heldFinish = false

    /// Bytes that came and that no socket has taken; it still counts when the stream is over.
    private var untakenByteCount = 0
    /// What the endpoint has been told that the stream holds.
    private var accountedByteCount = 0
    private weak var socket: (any StreamSink)?

    init(id: StreamID, endpoint: CircuitEndpoint, openedBy command: RelayCommand) {
        self.id = id
        self.endpoint = endpoint
        self.eventLoop = endpoint.eventLoop
        self.lastMovedAt = endpoint.eventLoop.now
        self.silentSince = self.lastMovedAt
        self.halfClosedIdle = endpoint.limits.halfClosedIdle
        self.isLookup = command == .resolve
        self.lifecycle = StreamLifecycle(role: endpoint.role)
        self.gate = StreamGate(
            limits: endpoint.limits.gate.shared(by: endpoint.streamCount + 1), isOpening: endpoint.role == .exit)
    }

    /// Whether nothing more may come from the far end; an answer ends a look-up.
    var hasPeerEnded: Bool { self.isAnswered || self.lifecycle.hasPeerEnded }
    private var isAnswered = false
    /// Whether a cell would carry anything of it.
    var hasSomethingToSay: Bool {
        if self.opening != nil { return true }
        return self.outbox.readableBytes > 0 ? !self.xOff.isPaused : self.farewell != nil
    }
    /// Whether its Begin or Resolve has still to be sent.
    var isOpeningUnsaid: Bool { self.opening.map { $0.command == .begin || $0.command == .resolve } ?? false }

    /// How many streams the circuit has, this one included.
    package var siblingCount: Int { self.endpoint?.streamCount ?? 0 }

    // MARK: From the socket

    /// Give the stream its socket. What was held is delivered before this returns.
    package func attach(_ sink: any StreamSink) {
        if !self.isOver { self.sink = sink }
        self.socket = sink
        if self.held.readableBytes > 0 {
            sink.streamReceived(self.held.readableBytesSpan)
            self.held = ByteBuffer()
        }
        if self.heldFinish { sink.streamFinished() }
        if self.isOver { return sink.streamEnded(self.endReason) }
        if self.hasRoom { sink.streamHasRoom() }
    }

    /// Whether the socket should be read.
    package var hasRoom: Bool {
        self.lifecycle.canSendData && !self.xOff.isPaused && self.outbox.readableBytes < StreamLimits.outboxByteCount
    }

    /// Send bytes that the socket gave.
    package func send(_ bytes: ByteBuffer) {
        guard self.lifecycle.canSendData else { return }
        self.lastMovedAt = self.eventLoop.now
        if self.outbox.readableBytes == 0 {
            self.outbox = bytes
        } else {
            // An outbox that is never empty would otherwise keep all that it ever held.
            if self.outbox.readerIndex >= StreamLimits.outboxByteCount { self.outbox.discardReadBytes() }
            self.outbox.writeImmutableBuffer(bytes)
        }
        self.account()
        self.becomeReady()
    }

    /// The socket has no more to send; what was given before goes first.
    package func finish() {
        guard self.lifecycle.canSendData else { return }
        self.lastMovedAt = self.eventLoop.now
        self.sayFarewell(self.lifecycle.localFinished())
    }

    /// End both directions at once; what waits is dropped.
    package func end(_ reason: EndReason) {
        self.giveUp(reason, tellSink: false)
    }

    private func giveUp(_ reason: EndReason, tellSink: Bool) {
        defer { self.account() }
        guard !self.isOver else { return self.dropHeld() }
        self.outbox = ByteBuffer()
        // A Finished that still waits behind data has become untrue with the data, and waits for no XOn any more.
        if self.farewell != nil {
            self.farewell = reason
            self.becomeReady()
        }
        self.sayFarewell(self.lifecycle.localEnded(reason))
        self.over(reason, tellSink: tellSink)
    }

    /// The socket took bytes.
    package func drained(byteCount: Int) {
        self.untakenByteCount = max(0, self.untakenByteCount - byteCount)
        self.account()
        guard !self.isOver else { return }
        self.lastMovedAt = self.eventLoop.now
        self.perform(self.gate.dataDrained(byteCount: byteCount, now: self.eventLoop.now))
    }

    /// The socket is closed, and with it is gone what it had not taken.
    package func socketClosed() {
        self.untakenByteCount = self.held.readableBytes
        self.account()
    }

    /// Let go of all that the stream holds: there is too much of it in this process. A socket that has still to take the
    /// last bytes of a stream that is over loses them, and hears of a reset.
    func abandon() {
        self.outbox = ByteBuffer()
        self.dropHeld()
        let socket = self.socket
        self.socket = nil
        socket?.streamEnded(.resourceLimit)
        self.untakenByteCount = 0
        self.account()
    }

    /// What the stream holds: bytes that wait for cells, and bytes that wait for the socket.
    package var queuedByteCount: Int { self.outbox.readableBytes + self.untakenByteCount }

    private func account() {
        let byteCount = self.queuedByteCount
        guard byteCount != self.accountedByteCount else { return }
        let change = byteCount - self.accountedByteCount
        self.accountedByteCount = byteCount
        self.endpoint?.bytesChanged(by: change, of: self)
    }

    /// Give up what came before there was a socket, when there will be none.
    private func dropHeld() {
        guard self.socket == nil else { return }
        self.held = ByteBuffer()
        self.untakenByteCount = 0
    }

    /// Bytes that came and that the socket has not taken.
    package var undeliveredByteCount: Int { self.gate.bufferedByteCount }

    // MARK: From the node

    /// Say Begin, Resolve, Connected or Resolved.
    func say(_ command: RelayCommand, _ data: ByteBuffer) {
        self.opening = (command, data)
        self.becomeReady()
    }

    /// The exit's connection stands; its edge is to be attached next.
    ///
    /// - Returns: false if the stream was ended meanwhile, and the connection is to be closed.
    package func connected(_ connected: Connected) -> Bool {
        guard !self.isOver else { return false }
        var data = ByteBuffer()
        connected.write(to: &data)
        switch self.lifecycle.connectionEstablished() {
        case .sendConnected, .sendConnectedThenFinishOutput:
            self.say(.connected, data)
            self.perform(self.gate.opened(now: self.eventLoop.now))
            return true
        case .closeConnection: return false
        }
    }

    /// Answer a Resolve; the stream is over with it.
    package func resolved(_ resolved: Resolved) {
        guard !self.isOver else { return }
        var data = ByteBuffer()
        resolved.write(to: &data)
        self.say(.resolved, data)
        self.over(.finished, tellSink: false)
    }

    /// The circuit is gone.
    func circuitDestroyed(_ reason: EndReason) {
        guard !self.isOver else { return }
        self.isOver = true
        self.endReason = reason
        self.dropAll()
        self.account()
        self.tellEnded(reason)
    }

    func tick(now: NIODeadline) {
        // The last bytes of a large read would keep all of its memory, and count for little, until the window opens.
        if self.outbox.readableBytes < self.outbox.storageCapacity / 4 {
            self.outbox = ByteBuffer(self.outbox.readableBytesSpan)
        }
        // With both sides finished, ours may still wait behind data that the far end has paused.
        guard self.lifecycle.isHalfClosed || self.lifecycle.isClosed, now - self.lastMovedAt > self.halfClosedIdle
        else { return }
        self.giveUp(.timedOut, tellSink: true)
    }

    // MARK: From the far end

    func dataReceived(_ data: RawSpan) throws(CircuitError) {
        let now = self.eventLoop.now
        self.lastMovedAt = now
        guard !self.isLookup else { throw .messageNotAllowed(.data) }
        switch try self.lifecycle.dataReceived() {
        case .drop: return
        case .deliver:
            self.untakenByteCount += data.byteCount
            self.account()
            self.perform(try self.gate.dataReceived(byteCount: data.byteCount, now: now))
            if let sink { sink.streamReceived(data) } else { self.held.writeBytes(data) }
        case .hold:
            self.untakenByteCount += data.byteCount
            self.account()
            self.perform(try self.gate.dataReceived(byteCount: data.byteCount, now: now))
            self.held.writeBytes(data)
        }
    }

    func messageReceived(_ command: RelayCommand, _ data: ByteBuffer) throws(CircuitError) {
        self.lastMovedAt = self.eventLoop.now
        switch command {
        case .connected:
            guard !self.isLookup else { throw .messageNotAllowed(command) }
            let connected = try CircuitError.decoding(command) { () throws(CellError) in try Connected(data: data) }
            guard try self.lifecycle.connectedReceived() == .open else { return }
            self.opener?.streamConnected(connected)
        case .resolved:
            guard self.isLookup else { throw .messageNotAllowed(command) }
            let resolved = try CircuitError.decoding(command) { () throws(CellError) in try Resolved(data: data) }
            self.isAnswered = true
            self.over(.finished, tellSink: false)
            self.opener?.streamResolved(resolved)
        case .end:
            try self.endReceived(try EndReason(data: data))
        case .xOff:
            guard data.readableBytes == 0, !self.isLookup else { throw .messageNotAllowed(command) }
            try self.xOff.xOffReceived(now: self.eventLoop.now)
        case .xOn:
            guard let rate = data.getInteger(at: data.readerIndex, as: UInt32.self), data.readableBytes == 4,
                !self.isLookup
            else {
                throw .messageNotAllowed(command)
            }
            try self.xOff.xOnReceived(drainRate: rate, now: self.eventLoop.now)
            self.becomeReady()
            if self.hasRoom { self.sink?.streamHasRoom() }
        case .begin, .data, .sendMe, .extend, .extended, .truncated, .resolve, .drop:
            throw .messageNotAllowed(command)
        }
    }

    private func endReceived(_ reason: EndReason) throws(CircuitError) {
        let wasOpening = self.lifecycle.isOpening
        defer { self.account() }
        switch try self.lifecycle.endReceived(reason) {
        case .finishOutput:
            if let sink { sink.streamFinished() } else { self.heldFinish = true }
        case .finishOutputAndClose:
            if let sink { sink.streamFinished() } else { self.heldFinish = true }
            // With our own End still to be packed, the stream stays until it is.
            if self.farewell == nil { self.over(.finished, tellSink: true) }
        case .holdFinish: self.heldFinish = true
        case .close(let reason):
            self.outbox = ByteBuffer()
            self.opening = nil
            self.farewell = nil
            self.over(reason, tellSink: true)
            if wasOpening { self.opener?.streamRefused(reason) }
        case .drop:
            // It gave up on what we were still to send.
            guard reason != .finished else { return }
            self.outbox = ByteBuffer()
            self.farewell = nil
            self.over(reason, tellSink: true)
        }
    }

    // MARK: Packing

    enum Packed { case nothingLeft, cellFull }

    /// Put as much of what there is to say into the cell as fits.
    ///
    /// - Parameter openings: Begin and Resolve messages that the cell holds so far.
    func pack(into payload: inout MutableRawSpan, _ writer: inout RelayMessageWriter, openings: inout Int) -> Packed {
        if let (command, data) = self.opening {
            if self.isOpeningUnsaid {
                guard openings < StreamLimits.openingsPerCell else { return .cellFull }
                openings += 1
            }
            guard data.readableBytes <= writer.room else { return .cellFull }
            writer.append(command, streamID: self.id, data: data.readableBytesSpan, into: &payload)
            self.opening = nil
        }
        while self.outbox.readableBytes > 0, !self.xOff.isPaused {
            let count = min(self.outbox.readableBytes, writer.room)
            guard count > 0 else { return .cellFull }
            writer.append(
                .data, streamID: self.id, data: self.outbox.readableBytesSpan.extracting(first: count), into: &payload)
            self.outbox.moveReaderIndex(forwardBy: count)
            if self.outbox.readableBytes == 0 {
                self.outbox = ByteBuffer()
                self.isOutboxEmptied = true
            }
        }
        if self.outbox.readableBytes == 0, let farewell {
            guard writer.room >= 1 else { return .cellFull }
            withUnsafeBytes(of: farewell.rawValue) { reason in
                writer.append(.end, streamID: self.id, data: reason.bytes, into: &payload)
            }
            self.farewell = nil
        }
        return .nothingLeft
    }

    /// The cell that the stream packed something into is on its way.
    func cellSent() {
        self.account()
        if self.lifecycle.isClosed, self.farewell == nil { return self.over(.finished, tellSink: true) }
        guard self.isOutboxEmptied else { return }
        self.isOutboxEmptied = false
        if self.hasRoom { self.sink?.streamHasRoom() }
    }

    /// The endpoint has taken the stream from the queue: it has nothing to say, or has said it.
    func leftQueue() {
        self.isQueued = false
        if self.isOver { self.endpoint?.saidAll() }
        self.silentSince = self.eventLoop.now
    }

    private func becomeReady(isUrgent: Bool = true) {
        guard !self.isQueued else { return }
        self.isQueued = true
        if self.eventLoop.now - self.silentSince >= StreamTurns.silence {
            self.headStart = StreamTurns.headStartCellCount
        }
        self.endpoint?.becameReady(self, isUrgent: isUrgent)
    }

    private func sayFarewell(_ action: StreamLifecycle.OnLocalEnd) {
        switch action {
        case .sendEnd(let reason), .sendEndAndClose(let reason):
            self.farewell = reason
            // When the destination has finished, nobody waits for our own end of it: it may share a cell.
            let isLast = action == .sendEndAndClose(.finished)
            self.becomeReady(isUrgent: !isLast || self.endpoint?.role != .client)
        case .none: break
        }
    }

    private func perform(_ action: StreamGate.Action) {
        switch action {
        case .none: break
        case .sendXOff: self.endpoint?.sendUrgent(.xOff, ByteBuffer(), on: self)
        case .sendXOn(let rate): self.endpoint?.sendUrgent(.xOn, ByteBuffer(integer: rate), on: self)
        case .wait(let deadline):
            let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
            self.gateTimer = self.eventLoop.scheduleTask(deadline: deadline) {
                let stream = bound.value
                guard !stream.isOver else { return }
                stream.perform(stream.gate.timerFired(now: stream.eventLoop.now))
            }
        }
    }

    // MARK: Ending

    /// Leave the circuit's table. What is still to be said is said all the same: the ready queue holds the stream.
    private func over(_ reason: EndReason, tellSink: Bool) {
        guard !self.isOver else { return }
        self.isOver = true
        self.endReason = reason
        self.gateTimer?.cancel()
        // What came before an orderly end is still to be delivered, once there is a sink.
        if reason != .finished { self.dropHeld() }
        self.account()
        self.endpoint?.forget(self)
        if tellSink { self.tellEnded(reason) } else { self.sink = nil }
    }

    private func tellEnded(_ reason: EndReason) {
        let sink = self.sink
        self.sink = nil
        sink?.streamEnded(reason)
    }

    private func dropAll() {
        self.gateTimer?.cancel()
        self.dropHeld()
        self.outbox = ByteBuffer()
        self.opening = nil
        self.farewell = nil
    }
}

@available(*, unavailable)
extension OnionStream: Sendable {}
