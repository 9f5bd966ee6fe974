import NIOCore
import NIOEmbedded
import NIOTLS
import OnionCells

@testable import OnionLink

/// A link with its owner, on a connection that is not one. Checks what the link tells its owner and what it sends:
///
/// - opened once, before any cell; closed once, after everything;
/// - all cells that came while it was open, and no others, in order;
/// - of each circuit's cells that are sent, all, in order, but for those whose queue was dropped;
/// - what the queues gain and lose, told in sums, is what they hold, and no queue grows past its limit.
final class WatchedLink: LinkOwner {
    private let loop = EmbeddedEventLoop()
    private let channel: EmbeddedChannel
    private var link: Link?
    private var limits = LinkLimits(queuedCellsPerCircuit: 20, queuedCellsPerLink: 60)
    /// The largest that a circuit's queue was ever allowed to be.
    private var longestQueue = 20
    var pieceByteCount = Int.max
    private static let pieceCount = 16

    private var isOpened = false
    private var isClosed = false
    /// What the peer has sent: whole cells, and what follows them.
    private var fed: [[UInt8]] = []
    private var fedRest: [UInt8] = []
    private var receivedCount = 0
    /// Numbers of the cells that the link has and the connection has not, by circuit, in order.
    private var expected: [CircuitID: [UInt32]] = [:]
    private var lastNumber: UInt32 = 0
    private var traffic = QueueTraffic()

    init(isDialler: Bool) {
        self.channel = EmbeddedChannel(loop: self.loop)
        let link = Link(
            channel: self.channel, isDialler: isDialler, peer: PeerKey(), owner: self, limits: self.limits
        ) { NetInfo(unixTime: 1, observedAddress: $0) }
        self.link = link
        do {
            try self.channel.pipeline.syncOperations.addHandler(link)
            try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        } catch { preconditionFailure("no connection: \(error)") }
    }

    // MARK: The peer

    func completeHandshake() {
        self.channel.pipeline.fireUserInboundEventTriggered(
            TLSUserEvent.handshakeCompleted(negotiatedProtocol: LinkProtocol.link.rawValue))
    }

    func receive(_ command: CellCommand, on circuit: CircuitID, body: [UInt8]) {
        self.receive(bytes: Self.cell(command, circuit, body))
    }

    private static func cell(_ command: CellCommand, _ circuit: CircuitID, _ body: [UInt8]) -> [UInt8] {
        var cell = [UInt8](repeating: 0, count: Cell.byteCount)
        cell.replaceSubrange(Cell.headerByteCount..<Cell.headerByteCount + body.count, with: body)
        do {
            var span = cell.mutableSpan
            var bytes = span.mutableBytes
            CellHeader(circuitID: circuit, command: command).write(to: &bytes)
        }
        return cell
    }

    func receiveRelayCells(count: Int, on circuit: CircuitID) {
        self.receive(bytes: (0..<count).flatMap { Self.cell(.relay, circuit, [UInt8($0)]) })
    }

    func receive(bytes: [UInt8]) {
        // What comes to a closed connection is nobody's.
        guard self.channel.isActive else { return }
        var rest = ByteBuffer(bytes: self.fedRest + bytes)
        while let cell = rest.readBytes(length: Cell.byteCount) { self.fed.append(cell) }
        self.fedRest = Array(buffer: rest)

        // Small pieces first, and then what is left in as many: a thousand would only take time.
        var pieces = ByteBuffer(bytes: bytes)
        for count in [self.pieceByteCount, max(self.pieceByteCount, bytes.count / Self.pieceCount)] {
            for _ in 0..<Self.pieceCount where pieces.readableBytes > 0 {
                guard let piece = pieces.readSlice(length: min(count, pieces.readableBytes)) else { break }
                // In memory of its own, as what a socket reads.
                self.write(ByteBuffer(bytes: piece.readableBytesView))
            }
        }
        if pieces.readableBytes > 0 { self.write(ByteBuffer(bytes: pieces.readableBytesView)) }
    }

    private func write(_ piece: ByteBuffer) {
        do { try self.channel.writeInbound(piece) } catch {
            preconditionFailure("an error goes past the link: \(error)")
        }
    }

    func lose() { self.channel.close(promise: nil) }

    // MARK: Our side

    func send(count: Int, on circuit: CircuitID) {
        let circuit = CircuitID(rawValue: circuit.rawValue + 1)
        for _ in 0..<count where self.isOpened {
            let number = self.nextNumber(circuit)
            self.link?.send(circuit: circuit) { Self.write(number, circuit, to: &$0) }
        }
    }

    /// Cells of several circuits at once, as they come from another event loop.
    func sendBatch(count: Int, firstCircuit: UInt32) {
        guard self.isOpened else { return }
        var batch = ByteBuffer()
        for index in 0..<count {
            let circuit = CircuitID(rawValue: (firstCircuit + UInt32(index)) % 8 + 1)
            let number = self.nextNumber(circuit)
            batch.appendCell { Self.write(number, circuit, to: &$0) }
        }
        self.link?.send(batch: batch)
    }

    private func nextNumber(_ circuit: CircuitID) -> UInt32 {
        self.lastNumber += 1
        if !self.isClosed { self.expected[circuit, default: []].append(self.lastNumber) }
        return self.lastNumber
    }

    private static func write(_ number: UInt32, _ circuit: CircuitID, to cell: inout MutableRawSpan) {
        cell.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) }
        CellHeader(circuitID: circuit, command: .relay).write(to: &cell)
        cell.storeBytes(of: number, toByteOffset: Cell.headerByteCount, as: UInt32.self)
    }

    var circuitCount: Int {
        get { self.link?.circuitCount ?? 0 }
        set { self.link?.circuitCount = newValue }
    }

    func setWritable(_ isWritable: Bool) {
        self.channel.isWritable = isWritable
        self.channel.pipeline.fireChannelWritabilityChanged()
    }

    func run() {
        self.loop.run()
        self.checkQueues()
    }

    func pass(milliseconds: Int64) {
        self.loop.advanceTime(by: .milliseconds(milliseconds))
        self.checkQueues()
    }

    /// Once a turn is over, whoever was over his limit has lost his queue.
    private func checkQueues() {
        for number in 1...UInt32(8) {
            let backlog = self.link?.backlog(of: CircuitID(rawValue: number)) ?? 0
            precondition(backlog <= self.longestQueue, "a queue grows past its limit")
        }
        precondition(self.link?.backlog(of: .link) ?? 0 <= OutgoingCells.linkCellLimit, "answers pile up")
    }

    func dropQueue(of circuit: CircuitID) {
        guard let link else { return }
        self.expected[circuit]?.removeLast(link.backlog(of: circuit))
        link.dropQueue(of: circuit)
    }

    func update(queuedCellsPerCircuit: Int, queuedCellsPerLink: Int) {
        self.limits.queuedCellsPerCircuit = queuedCellsPerCircuit
        self.limits.queuedCellsPerLink = queuedCellsPerLink
        self.longestQueue = max(self.longestQueue, queuedCellsPerCircuit)
        self.link?.update(self.limits)
    }

    func close() { self.link?.close() }

    // MARK: What must hold

    func check() {
        guard let link else { return }
        link.report()
        precondition(self.traffic.added - self.traffic.removed == link.reportedByteCount, "queues hold something else")
        precondition(link.isOpen == (self.isOpened && !self.isClosed), "a link is open without saying so")
        self.readWritten()
        if self.isOpened, !self.isClosed {
            precondition(self.receivedCount == self.fed.count, "a cell that came is kept back")
        }
    }

    private func readWritten() {
        while let batch = try? self.channel.readOutbound(as: ByteBuffer.self) {
            precondition(batch.readableBytes % Cell.byteCount == 0, "a part of a cell is sent")
            var cells = batch
            while let cell = cells.readSlice(length: Cell.byteCount) {
                let span = cell.readableBytesSpan
                let circuit = CellHeader(of: span).circuitID
                guard circuit != .link else { continue }
                let number = span.unsafeLoadUnaligned(fromByteOffset: Cell.headerByteCount, as: UInt32.self)
                guard self.expected[circuit]?.first == number else {
                    preconditionFailure("a circuit's cells leave out of order, or one is lost")
                }
                self.expected[circuit]?.removeFirst()
            }
        }
    }

    /// Let everything leave; returns whether the link was ever open.
    func end() -> Bool {
        self.setWritable(true)
        self.loop.run()
        self.check()
        if let link, link.isOpen {
            precondition(link.queuedByteCount == 0 && link.waitingCircuitCount == 0, "a queue waits for ever")
            precondition(self.expected.values.allSatisfy(\.isEmpty), "a cell is lost")
            link.close()
        }
        self.channel.close(promise: nil)
        self.loop.run()
        precondition(self.isClosed, "a link's end is not told")
        self.check()
        _ = try? self.channel.finish(acceptAlreadyClosed: true)
        self.link = nil
        return self.isOpened
    }

    // MARK: What the link says

    func linkOpened(_ link: Link) {
        precondition(!self.isOpened && !self.isClosed, "a link opens twice, or after its end")
        self.isOpened = true
    }

    func link(_ link: Link, received cells: inout CellBatch) {
        precondition(self.isOpened && !self.isClosed, "cells come before a link opens, or after its end")
        cells.forEachCell { _, cell in
            let bytes = cell.bytes.withUnsafeBytes { [UInt8]($0) }
            precondition(
                self.receivedCount < self.fed.count && self.fed[self.receivedCount] == bytes,
                "a cell is not what came in its place")
            self.receivedCount += 1
            // It is the owner's to write over.
            cell.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 0xee) }
        }
    }

    func link(_ link: Link, hasRoomFor circuit: CircuitID) {
        precondition(!self.isClosed, "a link speaks after its end")
        precondition(link.backlog(of: circuit) <= OutgoingCells.roomBelow, "there is no room that was told of")
    }

    func link(_ link: Link, overflowed circuit: CircuitID) {
        precondition(!self.isClosed && circuit != .link, "a link speaks after its end")
        precondition(
            link.backlog(of: circuit) > self.limits.queuedCellsPerCircuit
                || link.queuedByteCount > self.limits.queuedCellsPerLink * Cell.byteCount,
            "a queue within its limits has to go")
        self.dropQueue(of: circuit)
    }

    func link(_ link: Link, queuesChanged traffic: [CircuitID: QueueTraffic]) {
        precondition(!self.isClosed, "a link speaks after its end")
        for traffic in traffic.values {
            self.traffic.added += traffic.added
            self.traffic.removed += traffic.removed
        }
    }

    func linkClosed(_ link: Link, error: LinkError) {
        precondition(!self.isClosed, "a link closes twice")
        self.isClosed = true
    }
}
