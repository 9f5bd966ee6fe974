import NIOCore
import NIOEmbedded
import OnionCells
import TestSupport
import Testing

@testable import OnionLink

/// A link on an embedded channel, without TLS: what it does with the bytes that come, and in what order its own leave.
@Suite("Link, cell by cell")
struct LinkCellsTests {
    @Test("cells come whole and in order however the bytes are split", arguments: 0..<40)
    func anySplit(seed: UInt64) throws {
        var random = SplitMix64(seed)
        let test = try TestLink()
        var bytes = TestLink.netInfo
        for number in 0..<20 as Range<UInt32> {
            bytes.writeImmutableBuffer(TestLink.cell(7, .relay, number))
            if number % 5 == 0 { bytes.writeImmutableBuffer(TestLink.cell(0, .padding)) }
        }
        while bytes.readableBytes > 0 {
            let most = [1, 5, 2047, 2048, 2049, 20_000].randomElement(using: &random) ?? 1
            let count = min(bytes.readableBytes, Int.random(in: 1...most, using: &random))
            // A buffer of its own each time: the link may write into what it is given.
            try test.receive(ByteBuffer(bytes: bytes.readBytes(length: count) ?? []))
        }
        #expect(test.owner.received.map(\.number) == Array(0..<20), "seed \(seed)")
        #expect(test.owner.received.allSatisfy { $0.circuit == 7 })
        #expect(test.owner.openedCount == 1 && test.owner.closed.isEmpty)
    }

    @Test("nothing but NetInfo comes first", arguments: [CellCommand.relay, .create, .padding, .ping, .pong, .destroy])
    func netInfoFirst(command: CellCommand) throws {
        for isWithNetInfo in [true, false] {
            let test = try TestLink()
            let isLinkCell = [.padding, .ping, .pong].contains(command)
            var bytes = TestLink.cell(isLinkCell ? 0 : 7, command)
            if isWithNetInfo { bytes.writeImmutableBuffer(TestLink.netInfo) }
            try test.receive(bytes)
            #expect(test.owner.openedCount == 0 && test.owner.closed.count == 1 && test.owner.received.isEmpty)
            #expect(!test.channel.isActive)
        }
    }

    @Test("a peer that never says NetInfo is closed in time")
    func netInfoMissing() throws {
        let test = try TestLink()
        test.channel.embeddedEventLoop.advanceTime(by: .milliseconds(9999))
        #expect(test.owner.closed.isEmpty)
        test.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(test.owner.closed == [.netInfoTimedOut])
    }

    @Test("a second NetInfo closes the link")
    func netInfoTwice() throws {
        let test = try TestLink.open()
        try test.receive(TestLink.netInfo)
        #expect(test.owner.closed == [.unexpectedCell(.netInfo)])
    }

    @Test("a NetInfo that does not decode closes the link")
    func netInfoMalformed() throws {
        let test = try TestLink()
        var body = [UInt8](repeating: 0, count: 9)
        body[8] = 5
        try test.receive(TestLink.cell(0, .netInfo, body: body))
        #expect(test.owner.closed == [.malformedCell(.invalidField(.address))])
    }

    @Test(
        "a cell about no circuit that is not the link's either closes the link",
        arguments: [1, 2, 3, 4, 5, 9, 255] as [UInt8])
    func unknownLinkCell(command: UInt8) throws {
        let test = try TestLink.open()
        var cell = TestLink.cell(0, .padding)
        cell.setInteger(command, at: 4)
        try test.receive(cell)
        #expect(test.owner.closed == [.malformedCell(.unknownCommand(command))])
    }

    @Test("a Ping is answered with its eight bytes")
    func ping() throws {
        let test = try TestLink.open()
        // What is behind them is not sent back.
        let rest = [UInt8](repeating: 0xFF, count: Cell.bodyByteCount - 8)
        try test.receive(TestLink.cell(0, .ping, body: [1, 2, 3, 4, 5, 6, 7, 8] + rest))
        var pong = try #require(try test.sent().first)
        #expect(pong.readBytes(length: 13) == [0, 0, 0, 0, CellCommand.pong.rawValue, 1, 2, 3, 4, 5, 6, 7, 8])
        #expect(pong.readableBytesView.allSatisfy { $0 == 0 })
    }

    @Test("a peer that pings and does not read is closed, at the limit and not before")
    func pingFlood() throws {
        let test = try TestLink.open()
        test.channel.isWritable = false
        test.channel.pipeline.fireChannelWritabilityChanged()
        for _ in 0..<OutgoingCells.linkCellLimit { try test.receive(TestLink.cell(0, .ping)) }
        #expect(test.owner.closed.isEmpty)
        try test.receive(TestLink.cell(0, .ping))
        #expect(test.owner.closed == [.frozen])
    }

    @Test("a silent peer is pinged, then closed, while it has circuits")
    func frozen() throws {
        let test = try TestLink.open()
        test.link.circuitCount = 1
        test.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1500))
        #expect(try test.sent().map { $0.getInteger(at: 4, as: UInt8.self) } == [CellCommand.ping.rawValue])
        test.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1000))
        #expect(test.owner.closed == [.frozen])
    }

    @Test("a link without circuits closes after its time")
    func unused() throws {
        let test = try TestLink.open()
        test.channel.embeddedEventLoop.advanceTime(by: .seconds(59))
        #expect(test.owner.closed.isEmpty)
        test.channel.embeddedEventLoop.advanceTime(by: .seconds(2))
        #expect(test.owner.closed == [.closed])
    }

    @Test("cells leave once each when the connection blocks and opens from within a write")
    func writabilityWithinWrite() throws {
        let test = try TestLink.open(flickering: true)
        for number in 0..<200 as Range<UInt32> {
            test.link.send(circuit: CircuitID(rawValue: 7), cell: TestLink.cell(7, .relay, number).readableBytesSpan)
            if number % 7 == 0 { test.channel.embeddedEventLoop.run() }
        }
        test.channel.embeddedEventLoop.run()
        let numbers = try test.sent().map { $0.getInteger(at: 5, as: UInt32.self) }
        #expect(numbers == (0..<200).map { UInt32($0) })
    }

    @Test("what waited while the connection was blocked leaves once it opens, and its maker hears of room")
    func unblocked() throws {
        let test = try TestLink.open()
        test.channel.isWritable = false
        test.channel.pipeline.fireChannelWritabilityChanged()
        for number in 0..<100 as Range<UInt32> {
            test.link.send(circuit: CircuitID(rawValue: 7), cell: TestLink.cell(7, .relay, number).readableBytesSpan)
        }
        test.channel.embeddedEventLoop.run()
        #expect(try test.sent().isEmpty)
        #expect(test.link.backlog(of: CircuitID(rawValue: 7)) == 100)
        test.channel.isWritable = true
        test.channel.pipeline.fireChannelWritabilityChanged()
        #expect(try test.sent().count == 100)
        #expect(test.owner.roomy.last == 7 && test.link.queuedByteCount == 0)
    }

    @Test("a circuit over its limit is named to the owner, at the limit not yet")
    func overflow() throws {
        let test = try TestLink.open()
        test.channel.isWritable = false
        test.channel.pipeline.fireChannelWritabilityChanged()
        for number in 0..<1000 as Range<UInt32> {
            test.link.send(circuit: CircuitID(rawValue: 7), cell: TestLink.cell(7, .relay, number).readableBytesSpan)
        }
        test.channel.embeddedEventLoop.run()
        #expect(test.owner.overflowed.isEmpty)
        test.link.send(circuit: CircuitID(rawValue: 7), cell: TestLink.cell(7, .relay).readableBytesSpan)
        test.channel.embeddedEventLoop.run()
        #expect(test.owner.overflowed == [7])
    }

    @Test("an overflow that is over when it would be told is not told")
    func overflowThatWas() throws {
        let test = try TestLink.open()
        test.channel.isWritable = false
        test.channel.pipeline.fireChannelWritabilityChanged()
        for _ in 0...1000 {
            test.link.send(circuit: CircuitID(rawValue: 7), cell: TestLink.cell(7, .relay).readableBytesSpan)
        }
        test.link.dropQueue(of: CircuitID(rawValue: 7))
        test.channel.embeddedEventLoop.run()
        #expect(test.owner.overflowed.isEmpty)
    }

    @Test("a full batch leaves at once, a smaller one when the turn ends")
    func fullBatch() throws {
        let test = try TestLink.open()
        let count = UInt32(LinkBuffers.small.fullBatchByteCount / Cell.byteCount)
        for number in 0..<count - 1 { test.send(7, number) }
        #expect(try test.sent().isEmpty)
        test.send(7, count - 1)
        #expect(try test.sent().count == Int(count))
        test.send(7, count)
        #expect(try test.sent().isEmpty)
        test.channel.embeddedEventLoop.run()
        #expect(try test.sent().count == 1)
    }

    @Test("a link reads and writes no more at once than TLS's first buffers hold, until its owner lets it grow")
    func growth() throws {
        let test = try TestLink.open()
        test.owner.mayGrow = false
        let small = LinkBuffers.small.fullBatchByteCount / Cell.byteCount
        let large = LinkBuffers.large.fullBatchByteCount / Cell.byteCount
        for _ in 1..<small { test.send(7, 0) }
        try test.receive(ByteBuffer(bytes: (1..<small).flatMap { _ in TestLink.cell(7, .relay).readableBytesView }))
        #expect(try test.written() == [small - 1] && test.owner.growthRequestCount == 0)
        // What another loop has made comes as one.
        test.link.send(
            batch: ByteBuffer(bytes: (0..<large).flatMap { _ in TestLink.cell(7, .relay).readableBytesView }))
        #expect(try test.written() == Array(repeating: small, count: large / small) + [large % small])
        // It asks again later, and when it reads as much, too.
        #expect(test.owner.growthRequestCount == 1)
        test.owner.mayGrow = true
        let received = ByteBuffer(bytes: (0..<small).flatMap { _ in TestLink.cell(7, .relay).readableBytesView })
        try test.receive(received)
        #expect(test.owner.growthRequestCount == 1)
        test.link.circuitCount = 1
        test.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        _ = try test.written()
        try test.receive(received)
        #expect(test.owner.growthRequestCount == 2)
        for _ in 1..<large { test.send(7, 0) }
        #expect(try test.written().isEmpty)
        test.send(7, 0)
        #expect(try test.written() == [large])
        test.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        try test.receive(received)
        #expect(test.owner.growthRequestCount == 2)
    }

    @Test("what waits leaves, too, when the connection opens from within the write of what had not to wait")
    func unblockedWithinWrite() throws {
        let test = try TestLink.open(flickering: true)
        test.send(7, 0)
        test.channel.isWritable = false
        test.channel.pipeline.fireChannelWritabilityChanged()
        for number in 1..<200 as Range<UInt32> { test.send(1 + number % 3, number) }
        #expect(test.link.queuedByteCount == 199 * Cell.byteCount)
        test.channel.embeddedEventLoop.run()
        let numbers = try test.sent().map { $0.getInteger(at: 5, as: UInt32.self) ?? .max }
        #expect(numbers.first == 0 && numbers.sorted() == Array(0..<200))
        #expect(test.link.queuedByteCount == 0)
    }

    @Test("the owner hears of queues when there are any, and at no other time")
    func reports() throws {
        let free = try TestLink.open()
        for number in 0..<100 as Range<UInt32> { free.send(7, number) }
        free.channel.embeddedEventLoop.run()
        free.link.close()
        #expect(free.owner.reports.isEmpty)
        let test = try TestLink.open()
        test.channel.isWritable = false
        test.channel.pipeline.fireChannelWritabilityChanged()
        for number in 0..<3 as Range<UInt32> { test.send(7, number) }
        test.channel.embeddedEventLoop.run()
        let connection = LinkBuffers.small.blockedByteCount
        let id = CircuitID(rawValue: 7)
        let waiting = QueueTraffic(added: 3 * Cell.byteCount)
        #expect(test.owner.reports == [[id: waiting, .link: QueueTraffic(added: connection)]])
        // Told at once, and then not a second time.
        test.send(7, 3)
        test.link.report()
        test.channel.embeddedEventLoop.run()
        #expect(test.owner.reports.dropFirst() == [[id: QueueTraffic(added: Cell.byteCount)]])
        test.link.close()
        #expect(
            test.owner.reports.dropFirst(2) == [
                [id: QueueTraffic(removed: 4 * Cell.byteCount), .link: QueueTraffic(removed: connection)]
            ])
    }

    @Test("new times count for a link that is open: the peer is pinged that much earlier")
    func newTimes() throws {
        let test = try TestLink.open()
        test.link.circuitCount = 1
        var limits = LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000)
        limits.pingAfter = .milliseconds(100)
        test.link.update(limits)
        test.channel.embeddedEventLoop.advanceTime(by: .milliseconds(99))
        #expect(try test.sent().isEmpty)
        test.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(try test.sent().map { $0.getInteger(at: 4, as: UInt8.self) } == [CellCommand.ping.rawValue])
    }

    @Test("a write that fails and reads the socket out, within the cells of a read, delivers none of them twice")
    func readWithinWrite() throws {
        let test = try TestLink.open()
        var rest = TestLink.cell(7, .relay, 0)
        try test.receive(ByteBuffer(bytes: rest.readBytes(length: 100) ?? []))
        rest.writeImmutableBuffer(TestLink.cell(7, .relay, 1))
        test.failing.unread = TestLink.cell(7, .relay, 2)
        test.owner.whenReceived = { link in
            for _ in 0..<LinkBuffers.large.fullBatchByteCount / Cell.byteCount {
                link.send(circuit: CircuitID(rawValue: 7), cell: TestLink.cell(7, .relay).readableBytesSpan)
            }
        }
        try test.receive(ByteBuffer(bytes: rest.readableBytesView))
        #expect(test.owner.received.map(\.number) == [0] && test.owner.closed == [.closed])
    }

    @Test("a closed link takes cells and keeps none")
    func closed() throws {
        let test = try TestLink.open()
        test.channel.isWritable = false
        test.channel.pipeline.fireChannelWritabilityChanged()
        test.link.send(circuit: CircuitID(rawValue: 7), cell: TestLink.cell(7, .relay).readableBytesSpan)
        test.link.close()
        test.link.close()
        #expect(test.owner.closed == [.closed] && test.link.queuedByteCount == 0)
        var isFilled = false
        test.link.send(circuit: CircuitID(rawValue: 7)) { _ in isFilled = true }
        test.channel.embeddedEventLoop.run()
        #expect(isFilled && test.link.queuedByteCount == 0)
        #expect(test.owner.overflowed.isEmpty)
    }

    @Test("owner and link let go of each other")
    func nothingLeaks() throws {
        weak var link: Link?
        weak var owner: EmbeddedOwner?
        do {
            let test = try TestLink.open()
            link = test.link
            owner = test.owner
            _ = try? test.channel.finish(acceptAlreadyClosed: true)
            test.channel.embeddedEventLoop.run()
        }
        #expect(link == nil && owner == nil)
    }
}

/// A link on an embedded channel, past the TLS handshake.
private final class TestLink {
    let channel = EmbeddedChannel()
    let owner = EmbeddedOwner()
    let failing = FailingWrite()
    let link: Link

    init(flickering: Bool = false) throws {
        self.link = Link(
            channel: self.channel, isDialler: false, peer: PeerKey(), owner: self.owner,
            limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000), netInfo: { _ in .anonymous })
        if flickering { try self.channel.pipeline.syncOperations.addHandler(Flicker(self.channel)) }
        try self.channel.pipeline.syncOperations.addHandler(self.failing)
        try self.channel.pipeline.syncOperations.addHandler(self.link)
        try self.channel.connect(to: SocketAddress(unixDomainSocketPath: "/nowhere")).wait()
        self.link.handshakeCompleted()
        self.channel.embeddedEventLoop.run()
    }

    /// A link whose peer has said NetInfo, its own already read.
    static func open(flickering: Bool = false) throws -> TestLink {
        let test = try TestLink(flickering: flickering)
        try test.receive(Self.netInfo)
        let first = try test.sent()
        #expect(first.count == 1 && first.first?.getInteger(at: 4, as: UInt8.self) == CellCommand.netInfo.rawValue)
        return test
    }

    func receive(_ bytes: ByteBuffer) throws {
        if self.channel.isActive { try self.channel.writeInbound(bytes) }
        self.channel.embeddedEventLoop.run()
    }

    /// Send a cell that says its number.
    func send(_ circuit: UInt32, _ number: UInt32) {
        self.link.send(
            circuit: CircuitID(rawValue: circuit), cell: Self.cell(circuit, .relay, number).readableBytesSpan)
    }

    /// The cells that have left since the last call.
    func sent() throws -> [ByteBuffer] {
        var cells: [ByteBuffer] = []
        while var buffer = try self.channel.readOutbound(as: ByteBuffer.self) {
            while let cell = buffer.readSlice(length: Cell.byteCount) {
                cells.append(ByteBuffer(bytes: cell.readableBytesView))
            }
        }
        return cells
    }

    /// The cells of each write since the last call.
    func written() throws -> [Int] {
        var counts: [Int] = []
        while let buffer = try self.channel.readOutbound(as: ByteBuffer.self) {
            counts.append(buffer.readableBytes / Cell.byteCount)
        }
        return counts
    }

    static let netInfo = cell(0, .netInfo)

    static func cell(_ circuit: UInt32, _ command: CellCommand, _ number: UInt32) -> ByteBuffer {
        var cell = Self.cell(circuit, command)
        cell.setInteger(number, at: Cell.headerByteCount)
        return cell
    }

    static func cell(_ circuit: UInt32, _ command: CellCommand, body: [UInt8] = []) -> ByteBuffer {
        var cell = ByteBuffer()
        cell.writeMultipleIntegers(circuit, command.rawValue)
        cell.writeBytes(body)
        cell.writeRepeatingByte(0, count: Cell.byteCount - cell.readableBytes)
        return cell
    }
}

/// Blocks and opens again within every write, as a socket does that takes at once what was too much.
private final class Flicker: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    private let channel: EmbeddedChannel
    init(_ channel: EmbeddedChannel) { self.channel = channel }
    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        context.write(data, promise: promise)
        self.channel.isWritable = false
        context.fireChannelWritabilityChanged()
        self.channel.isWritable = true
        context.fireChannelWritabilityChanged()
    }
}

/// Reads what is unread within the next write and closes, as a socket does whose write has failed.
private final class FailingWrite: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var unread: ByteBuffer?
    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard let unread else { return context.write(data, promise: promise) }
        self.unread = nil
        context.fireChannelRead(NIOAny(unread))
        context.close(promise: nil)
    }
}

private final class EmbeddedOwner: LinkOwner {
    var mayGrow = true
    private(set) var growthRequestCount = 0
    /// Called once, from within the delivery of cells.
    var whenReceived: ((Link) -> Void)?
    private(set) var openedCount = 0
    private(set) var received: [(circuit: UInt32, number: UInt32)] = []
    private(set) var roomy: [UInt32] = []
    private(set) var overflowed: [UInt32] = []
    private(set) var closed: [LinkError] = []
    private(set) var reports: [[CircuitID: QueueTraffic]] = []
    func linkOpened(_ link: Link) { self.openedCount += 1 }
    func link(_ link: Link, received cells: inout CellBatch) {
        cells.forEachCell { header, cell in
            guard header.circuitID != .link else { return }
            let number = UInt32(bigEndian: cell.bytes.unsafeLoadUnaligned(fromByteOffset: 5, as: UInt32.self))
            self.received.append((header.circuitID.rawValue, number))
        }
        let whenReceived = self.whenReceived
        self.whenReceived = nil
        whenReceived?(link)
    }
    func link(_ link: Link, hasRoomFor circuit: CircuitID) { self.roomy.append(circuit.rawValue) }
    func link(_ link: Link, overflowed circuit: CircuitID) { self.overflowed.append(circuit.rawValue) }
    func link(_ link: Link, queuesChanged traffic: [CircuitID: QueueTraffic]) { self.reports.append(traffic) }
    func linkMayGrow(_ link: Link) -> Bool {
        self.growthRequestCount += 1
        return self.mayGrow
    }
    func linkClosed(_ link: Link, error: LinkError) { self.closed.append(error) }
}
