import DequeModule
import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionStreams

/// Bytes whose value tells their place, so that loss, doubling and order all show.
enum Pattern {
    private static let period = 65_521
    private static let bytes: [UInt8] = (0..<2 * period).map {
        UInt8(truncatingIfNeeded: ($0 % period) &* 2_654_435_761 >> 7)
    }

    static func buffer(from offset: Int, count: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        var offset = offset
        while buffer.readableBytes < count {
            let start = offset % Self.period
            let piece = min(count - buffer.readableBytes, Self.period)
            buffer.writeBytes(Self.bytes[start..<start + piece])
            offset += piece
        }
        return buffer
    }

    static func matches(_ data: RawSpan, at offset: Int) -> Bool {
        var found = ByteBuffer()
        found.writeBytes(data)
        return found == Self.buffer(from: offset, count: data.byteCount)
    }
}

/// One socket as a stream sees it: bytes to give, bytes taken, and what it was told.
final class TestSocket: StreamSink {
    let name: String
    var stream: OnionStream?
    var isAttached = false
    /// What the application has still to write, and whether it closes behind that.
    var toSend: Int
    var hasFinished = false
    private(set) var sentCount = 0
    private(set) var receivedCount = 0
    private(set) var undrained = 0
    private(set) var largestUndrained = 0
    private(set) var isIntact = true
    private(set) var finishedCount = 0
    private(set) var endings: [EndReason] = []
    private(set) var roomCount = 0
    private(set) var deliveryCount = 0
    /// Takes bytes from the stream only when told to.
    var isSlow = false
    var onFinished: () -> Void = {}
    var onEnded: () -> Void = {}

    init(_ name: String, sending toSend: Int = 0, isSlow: Bool = false) {
        self.name = name
        self.toSend = toSend
        self.isSlow = isSlow
    }

    func attach(to stream: OnionStream) {
        self.stream = stream
        self.isAttached = true
        stream.attach(self)
    }

    /// Write up to `limit` bytes if the stream has room, and finish behind the last.
    func write(atMost limit: Int) {
        guard let stream, !self.hasFinished, self.endings.isEmpty else { return }
        if self.sentCount < self.toSend {
            guard stream.hasRoom else { return }
            let count = min(limit, self.toSend - self.sentCount)
            stream.send(Pattern.buffer(from: self.sentCount, count: count))
            self.sentCount += count
        }
        guard self.sentCount == self.toSend else { return }
        self.hasFinished = true
        stream.finish()
    }

    func drain(atMost limit: Int) {
        let count = min(limit, self.undrained)
        guard count > 0 else { return }
        self.undrained -= count
        self.stream?.drained(byteCount: count)
    }

    func streamReceived(_ data: RawSpan) {
        if !Pattern.matches(data, at: self.receivedCount) || self.finishedCount > 0 { self.isIntact = false }
        self.deliveryCount += 1
        self.receivedCount += data.byteCount
        self.undrained += data.byteCount
        self.largestUndrained = max(self.largestUndrained, self.undrained)
    }
    func streamFinished() {
        self.finishedCount += 1
        self.onFinished()
    }
    func streamHasRoom() { self.roomCount += 1 }
    func streamEnded(_ reason: EndReason) {
        self.endings.append(reason)
        self.onEnded()
    }
}

/// Keeps what a client's stream is told before it stands.
final class TestOpener: StreamOpener {
    private(set) var connected: [Connected] = []
    private(set) var resolved: [Resolved] = []
    private(set) var refused: [EndReason] = []
    var onConnected: () -> Void = {}
    func streamConnected(_ connected: Connected) {
        self.connected.append(connected)
        self.onConnected()
    }
    func streamResolved(_ resolved: Resolved) { self.resolved.append(resolved) }
    func streamRefused(_ reason: EndReason) { self.refused.append(reason) }
}

/// One end of the circuit, and the cells that it has on their way to the other.
final class TestEnd: CircuitEndpointOwner {
    struct Cell {
        var payload: [UInt8]
        let tag: CellTag
    }

    var endpoint: CircuitEndpoint?
    var outgoing = Deque<Cell>()
    /// Cells that may be on their way before the link has no room.
    var backlogLimit = Int.max
    private(set) var cellCount = 0
    private(set) var failures: [CircuitError] = []
    private(set) var opened: [(stream: OnionStream, command: RelayCommand, data: ByteBuffer)] = []
    private(set) var closed: [StreamID] = []
    private(set) var truncated: [DestroyReason] = []
    private(set) var reportCount = 0
    var onOpened: (OnionStream) throws(CircuitError) -> Void = { (_) throws(CircuitError) in }
    /// Called when a cell has been taken, before the endpoint knows.
    var onSent: () -> Void = {}
    private var isMakingCell = false
    /// Whether the endpoint called out while a cell was being made, when a real link is in the middle of a call.
    private(set) var wasCalledWithinCell = false

    func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool {
        if self.isMakingCell { self.wasCalledWithinCell = true }
        return self.outgoing.count < self.backlogLimit
    }
    func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag {
        self.isMakingCell = true
        var payload = [UInt8](repeating: 0xaa, count: OnionCells.Cell.payloadByteCount)
        var bytes = payload.mutableSpan
        var span = bytes.mutableBytes
        fill(&span)
        self.isMakingCell = false
        self.cellCount += 1
        let tag = CellTag(high: UInt64(self.cellCount), low: 7)
        self.outgoing.append(Cell(payload: payload, tag: tag))
        self.onSent()
        return tag
    }
    func endpoint(_ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer)
        throws(CircuitError)
    {
        self.opened.append((stream, command, data))
        try self.onOpened(stream)
    }
    func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason) { self.truncated.append(reason) }
    func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError) {
        self.failures.append(error)
        endpoint.destroy(.unspecified)
    }
    func endpointBytesChanged(_ endpoint: CircuitEndpoint) { self.reportCount += 1 }
    func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream) {
        if self.isMakingCell { self.wasCalledWithinCell = true }
        self.closed.append(stream.id)
    }
}

/// A client and an exit, joined by two queues of cells.
final class TestCircuit {
    let loop = EmbeddedEventLoop()
    let client = TestEnd()
    let exit = TestEnd()
    let clientEndpoint: CircuitEndpoint
    let exitEndpoint: CircuitEndpoint

    init(
        window: Int = 256, maximumWindow: Int = 4096, high: Int = 1 << 20, low: Int = 1 << 18,
        idle: TimeAmount = .seconds(60), waitingStreamCount: Int = 1024
    )
        throws
    {
        let congestion = try CongestionParameters(
            initialWindow: window, minimumWindow: 32, maximumWindow: maximumWindow)
        let limits = StreamLimits(
            gate: .init(high: high, low: low, inFlight: maximumWindow * 2048), halfClosedIdle: idle,
            waitingStreamCount: waitingStreamCount)
        let padding = PaddingSourceBox()
        self.clientEndpoint = CircuitEndpoint(
            role: .client, eventLoop: self.loop, congestion: congestion, limits: limits, padding: padding,
            owner: self.client)
        self.exitEndpoint = CircuitEndpoint(
            role: .exit, eventLoop: self.loop, congestion: congestion, limits: limits, padding: padding,
            owner: self.exit)
        self.client.endpoint = self.clientEndpoint
        self.exit.endpoint = self.exitEndpoint
    }

    /// Hand over the oldest cell that is on its way from `end`. Returns false if there is none.
    @discardableResult
    func deliver(from end: TestEnd, change: (inout TestEnd.Cell) -> Void = { _ in }) -> Bool {
        guard var cell = end.outgoing.popFirst() else { return false }
        change(&cell)
        let target = end === self.client ? self.exitEndpoint : self.clientEndpoint
        target.cellReceived(payload: cell.payload.span.bytes, tag: cell.tag)
        end.endpoint?.roomAvailable()
        return true
    }

    /// Hand over cells both ways until none is left; time stands still.
    func settle() {
        repeat { self.loop.run() } while self.deliver(from: self.client) || self.deliver(from: self.exit)
    }

    func advance(by time: TimeAmount) { self.loop.advanceTime(by: time) }

    /// Give the exit a cell that holds these messages, as a client of any kind might make it.
    func forgeForward(_ messages: [(RelayCommand, StreamID, [UInt8])], tag: CellTag = CellTag(high: 9, low: 9)) {
        Self.forge(messages) { self.exitEndpoint.cellReceived(payload: $0, tag: tag) }
    }

    func forgeBackward(_ messages: [(RelayCommand, StreamID, [UInt8])], tag: CellTag = CellTag(high: 9, low: 9)) {
        Self.forge(messages) { self.clientEndpoint.cellReceived(payload: $0, tag: tag) }
    }

    private static func forge(_ messages: [(RelayCommand, StreamID, [UInt8])], _ give: (RawSpan) -> Void) {
        var payload = [UInt8](repeating: 0, count: OnionCells.Cell.payloadByteCount)
        var writer = RelayMessageWriter(leavesUnguessableTail: false)
        do {
            var bytes = payload.mutableSpan
            var span = bytes.mutableBytes
            for (command, id, data) in messages {
                writer.append(command, streamID: id, data: data.span.bytes, into: &span)
            }
            _ = writer.finish(&span)
        }
        give(payload.span.bytes)
    }

    /// Open a stream and let the exit connect it; both sockets attached.
    func openStream(clientSends: Int = 0, exitSends: Int = 0) -> (client: TestSocket, exit: TestSocket)? {
        guard let stream = self.clientEndpoint.open(.begin, data: Self.begin) else { return nil }
        let client = TestSocket("client", sending: clientSends)
        client.attach(to: stream)
        self.settle()
        guard let opened = self.exit.opened.last?.stream, opened.id == stream.id, opened.connected(Self.connected)
        else {
            return nil
        }
        let exit = TestSocket("exit", sending: exitSends)
        exit.attach(to: opened)
        self.settle()
        return (client, exit)
    }

    static var begin: ByteBuffer {
        var data = ByteBuffer()
        Begin(target: .host("example.org", port: 80)).write(to: &data)
        return data
    }
    static let connected = Connected(address: .v4(0x5db8_d822), ttlSeconds: 60)
}

/// The messages in a payload, for tests that look at how cells are packed.
func messages(in payload: [UInt8]) throws -> [(command: RelayCommand, id: StreamID, byteCount: Int)] {
    var walker = RelayMessageWalker()
    var found: [(command: RelayCommand, id: StreamID, byteCount: Int)] = []
    while let message = try walker.next(in: payload.span.bytes) {
        found.append((message.command, message.streamID, message.data.count))
    }
    return found
}
