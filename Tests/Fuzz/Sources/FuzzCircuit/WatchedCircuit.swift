import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto

@testable import OnionStreams

/// The node around one circuit end: keeps its streams and sockets, and checks every cell that it sends.
final class WatchedCircuit: CircuitEndpointOwner {
    let loop = EmbeddedEventLoop()
    private(set) var endpoint: CircuitEndpoint?
    private(set) var failure: CircuitError?
    private let role: StreamLifecycle.Role
    private var hasRoom = true
    private var isMakingCell = false
    private var isOver = false

    /// Counted cells on their way, and the tags of the SendMes that the peer may send.
    private var cellCount = 0
    private var countedCount = 0
    private var inFlightCount = 0
    private var due: [CellTag] = []
    /// Counted cells that came, and the tags of the SendMes that are to be sent.
    private var receivedCount = 0
    private var owed: [CellTag] = []

    /// What a stream has said and been told so far.
    private struct Life {
        var stream: OnionStream?
        var isLookup = false
        var isAnswered = false
        var socket: WatchedSocket?
        var isOpened = false
        var ends: [EndReason] = []
        var sentCount = 0
        var isPeerPaused = false
    }
    private var lives: [UInt16: Life] = [:]
    /// Bytes that the peer has sent on its streams, and those on which it wants none.
    private var peerSentCounts: [UInt16: Int] = [:]
    private var paused: Set<UInt16> = []
    private var tracked = (added: 0, removed: 0)

    init(role: StreamLifecycle.Role) {
        self.role = role
        guard let congestion = try? CongestionParameters(initialWindow: 32, minimumWindow: 32, maximumWindow: 96) else {
            preconditionFailure("no congestion parameters")
        }
        let limits = StreamLimits(
            gate: .init(high: 20_000, low: 5000, inFlight: 96 * Cell.byteCount, whileOpening: 6000),
            halfClosedIdle: .seconds(60))
        self.endpoint = CircuitEndpoint(
            role: role, eventLoop: self.loop, congestion: congestion, limits: limits, padding: PaddingSourceBox(),
            owner: self)
    }

    // MARK: The peer

    func receive(_ payload: [UInt8]) {
        var payload = payload
        self.cellCount += 1
        let tag = CellTag(high: UInt64(self.cellCount), low: 1)
        self.note(&payload, tag)
        self.endpoint?.cellReceived(payload: payload.span.bytes, tag: tag)
    }

    /// Full cells of Data, as fast as the peer pleases.
    func receiveData(on id: UInt16, cellCount: Int) {
        for _ in 0..<cellCount where self.failure == nil {
            var payload = [UInt8](repeating: 0, count: Cell.payloadByteCount)
            do {
                let data = [UInt8](repeating: 0, count: RelayMessageHeader.maximumDataByteCount)
                var span = payload.mutableSpan
                var bytes = span.mutableBytes
                var writer = RelayMessageWriter(leavesUnguessableTail: false)
                writer.append(.data, streamID: StreamID(rawValue: id), data: data.span.bytes, into: &bytes)
            }
            self.receive(payload)
        }
    }

    /// SendMes for cells that have been sent.
    func acknowledge(atMost count: Int) {
        for _ in 0..<min(count, self.due.count) where self.failure == nil {
            var payload = [UInt8](repeating: 0, count: 64)
            do {
                let data = self.due[0].bytes
                var span = payload.mutableSpan
                var bytes = span.mutableBytes
                var writer = RelayMessageWriter(leavesUnguessableTail: false)
                writer.append(.sendMe, streamID: .circuit, data: data.span.bytes, into: &bytes)
            }
            self.receive(payload)
        }
    }

    /// The data of a message of the right form.
    func data(of command: RelayCommand, _ value: UInt8) -> [UInt8] {
        var buffer = ByteBuffer()
        switch command {
        case .begin: Begin(target: .host("a", port: 80)).write(to: &buffer)
        case .connected: Connected(address: .v4(1), ttlSeconds: 0).write(to: &buffer)
        case .data: return [UInt8](repeating: 0, count: Int(value) * 16)
        case .end: return [value]
        case .sendMe: return (self.due.first ?? CellTag(high: 0, low: 0)).bytes
        case .xOn: return [0, 0, 0, value]
        case .resolve: Resolve.addresses(of: "a").write(to: &buffer)
        case .resolved: Resolved.failed(.noSuchName).write(to: &buffer)
        case .truncated: return [value]
        case .xOff, .extend, .extended, .drop: break
        }
        return Array(buffer: buffer)
    }

    /// Keep account of a cell that comes, and write into its Data what is due there. What breaks a rule ends the circuit,
    /// and the account with it.
    private func note(_ payload: inout [UInt8], _ tag: CellTag) {
        var walker = RelayMessageWalker()
        var isCounted = false
        walking: while let message = try? walker.next(in: payload.span.bytes) {
            let id = message.streamID.rawValue
            if !message.command.isFlowControl { isCounted = true }
            switch message.command {
            case .sendMe:
                guard CellTag(payload[message.data]) == self.due.first, !self.due.isEmpty else { continue }
                self.due.removeFirst()
                self.inFlightCount -= CongestionControl.incrementCellCount
            case .data:
                let offset = self.peerSentCounts[id, default: 0]
                payload.replaceSubrange(message.data, with: Pattern.bytes(from: offset, count: message.data.count))
                self.peerSentCounts[id] = offset + message.data.count
            case .xOff: self.paused.insert(id)
            case .xOn: self.paused.remove(id)
            case .truncated: break walking
            case .begin, .resolve, .connected, .resolved, .end, .extend, .extended, .drop: break
            }
        }
        guard isCounted else { return }
        self.receivedCount += 1
        if self.receivedCount.isMultiple(of: CongestionControl.incrementCellCount) { self.owed.append(tag) }
    }

    // MARK: This side

    func setRoom(_ hasRoom: Bool) {
        self.hasRoom = hasRoom
        if hasRoom { self.endpoint?.roomAvailable() }
    }

    func open(isLookup: Bool) {
        guard self.role == .client, let endpoint else { return }
        let stream = endpoint.open(isLookup ? .resolve : .begin, data: ByteBuffer(bytes: [0, 0, 80, 97]))
        guard let stream else { return }
        self.lives[stream.id.rawValue] = Life(stream: stream, isLookup: isLookup)
    }

    /// The exit has connected or looked up; or could not.
    func answer(_ place: Int, failing: Bool) {
        let id = UInt16(place)
        guard self.role == .exit, let life = self.lives[id], let stream = life.stream, !life.isAnswered else { return }
        self.lives[id]?.isAnswered = true
        if failing {
            stream.end(.connectionRefused)
            self.lives[id]?.stream = nil
        } else if life.isLookup {
            stream.resolved(.failed(.noSuchName))
        } else if !stream.connected(Connected(address: .v4(1), ttlSeconds: 0)) {
            self.lives[id]?.stream = nil
        }
    }

    func attach(_ place: Int) {
        let id = UInt16(place)
        guard let life = self.lives[id], let stream = life.stream, !life.isLookup, life.socket == nil,
            self.role == .client || life.isAnswered
        else { return }
        let socket = WatchedSocket(stream)
        self.lives[id]?.socket = socket
        stream.attach(socket)
    }

    func socket(_ place: Int) -> WatchedSocket? { self.lives[UInt16(place)]?.socket }

    /// The stream ends here, for any reason of our own.
    func breakOff(_ place: Int) { self.lives[UInt16(place)]?.stream?.end(.timedOut) }

    /// The circuit goes; nothing may be left of it.
    func end() {
        self.loop.run()
        self.isOver = true
        self.endpoint?.destroy(.unspecified)
        self.endpoint?.abandon()
        self.checkTraffic()
        precondition(self.endpoint?.queuedByteCount == 0, "a circuit that is gone holds bytes")
        precondition(self.endpoint?.streamCount == 0, "a circuit that is gone has streams")
        self.loop.advanceTime(by: .seconds(1))
    }

    func checkTraffic() {
        guard let traffic = self.endpoint?.takeTraffic() else { return }
        self.tracked.added += traffic.added
        self.tracked.removed += traffic.removed
        precondition(
            self.tracked.added - self.tracked.removed == self.endpoint?.queuedByteCount, "the account of bytes is wrong"
        )
        precondition(self.endpoint?.queuedByteCount ?? 0 >= 0, "fewer than no bytes are queued")
    }

    // MARK: What the endpoint asks

    func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool {
        precondition(!self.isMakingCell, "called out within a cell")
        return self.hasRoom
    }

    func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag {
        precondition(!self.isOver && self.failure == nil, "a circuit that is gone sends")
        precondition(!self.isMakingCell, "a cell within a cell")
        self.isMakingCell = true
        var payload = [UInt8](repeating: 0xaa, count: Cell.payloadByteCount)
        do {
            var span = payload.mutableSpan
            var bytes = span.mutableBytes
            fill(&bytes)
        }
        self.isMakingCell = false
        self.cellCount += 1
        let tag = CellTag(high: UInt64(self.cellCount), low: 0)
        self.examine(payload, tag, endpoint)
        return tag
    }

    private func examine(_ payload: [UInt8], _ tag: CellTag, _ endpoint: CircuitEndpoint) {
        var walker = RelayMessageWalker()
        var isCounted = false
        var openingCount = 0
        var end = 0
        do {
            while let message = try walker.next(in: payload.span.bytes) {
                end = message.data.upperBound
                if !message.command.isFlowControl { isCounted = true }
                if message.command == .begin || message.command == .resolve { openingCount += 1 }
                if message.command == .sendMe {
                    precondition(
                        !self.owed.isEmpty && CellTag(payload[message.data]) == self.owed.removeFirst(),
                        "a SendMe is not due")
                } else {
                    self.examine(message, payload[message.data])
                }
            }
        } catch { preconditionFailure("a cell does not parse") }
        precondition(end > 0, "a cell says nothing")
        precondition(openingCount <= StreamLimits.openingsPerCell, "a cell opens too many streams")
        guard isCounted else { return }
        precondition(self.inFlightCount < endpoint.congestionWindow, "more cells than the window allows")
        self.inFlightCount += 1
        self.countedCount += 1
        guard self.countedCount.isMultiple(of: CongestionControl.incrementCellCount) else { return }
        precondition(
            end + RelayMessageWriter.unguessableTailByteCount <= payload.count, "the tag of a cell can be guessed")
        self.due.append(tag)
    }

    private func examine(_ message: RelayMessageHeader, _ data: ArraySlice<UInt8>) {
        let id = message.streamID.rawValue
        guard var life = self.lives[id] else { preconditionFailure("a message of no stream") }
        defer { self.lives[id] = life }
        precondition(
            self.role == .client ? !message.command.isBackwardOnly : !message.command.isForwardOnly,
            "a message that only the other end may send")
        switch message.command {
        case .begin, .resolve, .connected, .resolved:
            precondition(!life.isOpened && life.ends.isEmpty, "a stream opens twice, or after its end")
            life.isOpened = true
        case .data:
            precondition(life.isOpened && life.ends.isEmpty, "Data before the opening, or after the end")
            precondition(!self.paused.contains(id), "Data on a stream that the peer has paused")
            precondition(Pattern.matches(data.span.bytes, at: life.sentCount), "bytes are lost or out of order")
            life.sentCount += data.count
        case .end:
            let reason = EndReason(wire: data.first ?? 0)
            precondition(
                life.ends.isEmpty || (life.ends == [.finished] && reason != .finished), "a stream ends twice")
            life.ends.append(reason)
        case .xOff:
            precondition(!life.isPeerPaused, "XOff twice")
            life.isPeerPaused = true
        case .xOn:
            precondition(life.isPeerPaused, "XOn without XOff")
            life.isPeerPaused = false
        case .sendMe, .extend, .extended, .truncated, .drop: preconditionFailure("a message that streams do not send")
        }
    }

    func endpoint(
        _ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer
    ) throws(CircuitError) {
        precondition(self.role == .exit, "the peer opens a stream at the client")
        precondition(self.lives[stream.id.rawValue] == nil, "a stream id comes twice")
        self.lives[stream.id.rawValue] = Life(stream: stream, isLookup: command == .resolve)
    }

    func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason) {
        precondition(self.role == .client, "an exit is told of a Truncated")
    }

    func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError) {
        precondition(self.failure == nil, "a circuit fails twice")
        self.failure = error
        endpoint.destroy(.unspecified)
    }

    func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream) {
        precondition(!self.isMakingCell, "called out within a cell")
        precondition(self.lives[stream.id.rawValue] != nil, "a stream that was not there is closed")
    }
}
