import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionLink
@testable import OnionRouter

/// An OR without a socket, in virtual time: one event loop's part of it, with peers, name servers and destinations that
/// the test plays.
final class TestRouter {
    let eventLoop: EmbeddedEventLoop
    let shared: RouterShared
    let loop: RouterLoop
    let outside: TestOutside
    private(set) var peers: [TestPeer] = []

    static let identity = Ed25519PrivateKey().publicKey
    static let onionKey = X25519PrivateKey()
    private static let metrics = RouterMetrics()

    /// - Parameters:
    ///   - parameters: of the network, as `name=value`.
    ///   - loopCount: among how many loops what may be queued is divided; only one of them is there.
    static func run(
        _ parameters: String..., listed: [ListedRouter] = [], loopCount: Int = 1, _ body: (TestRouter) throws -> Void
    ) throws {
        let router = TestRouter(view: try Self.view(parameters, listed: listed), loopCount: loopCount)
        defer { router.end() }
        try body(router)
    }

    static func view(_ parameters: [String] = [], listed: [ListedRouter] = []) throws -> NetworkView {
        // No test that moves the time is to be about silent links, unless it says so.
        let patient = ["link-silence-ms=600000", "link-ping-after-ms=600000", "link-idle-s=1000000"]
        return NetworkView(
            consensus: try Consensus.make(
                revision: 1, validAfter: 1_790_000_000, freshUntil: 1_790_003_600, validUntil: 1_790_010_800,
                parameters: NetworkParameters().setting(patient + parameters),
                routers: try listed.map { try $0.entry() },
                signedBy: ListedRouter.directoryKey))
    }

    private init(view: NetworkView, loopCount: Int) {
        let eventLoop = EmbeddedEventLoop()
        let outside = TestOutside(eventLoop: eventLoop)
        var connector = ExitConnector(
            resolver: outside,
            gate: ExitGate(policy: (try? ExitPolicy(parsing: ["accept *:*"])) ?? .standard, isOwn: { _ in false }),
            directory: "192.0.2.1", directoryPort: 9030)
        connector.open = { endpoint, _, _, _, _ in outside.connect(to: endpoint) }
        let handshakes = HandshakeService(
            identity: Self.identity, onionKeys: [Self.onionKey], limits: view.handshakeLimits, metrics: Self.metrics,
            executor: outside.run)
        let shared = RouterShared(
            identity: Self.identity, group: TestLoops(Array(repeating: eventLoop, count: loopCount)),
            handshakes: handshakes, connector: connector,
            dial: { address, linkKey, _, owner in outside.dial(address, linkKey, owner) },
            admission: RouterAdmission(view: view, directory: nil, descriptorCount: 65_536, metrics: Self.metrics),
            metrics: Self.metrics, view: view)
        self.eventLoop = eventLoop
        self.outside = outside
        self.shared = shared
        shared.start(on: eventLoop)
        self.loop = shared.loop(eventLoop)?.local ?? RouterLoop(eventLoop: eventLoop, shared: shared)
    }

    /// A peer that has dialled this OR, its link open: a client, unless it has a key that the consensus names.
    func accept(_ key: Ed25519PublicKey? = nil, from address: String = "198.51.100.1") throws -> TestPeer {
        let peer = try TestPeer(isDialled: false, key: key, address: address, owner: self.loop, on: self.eventLoop)
        self.peers.append(peer)
        try peer.open()
        return peer
    }

    /// A circuit of a client on a link of its own, whose last hop is this OR.
    func circuit() throws -> TestCircuit { try self.accept().create() }

    /// The circuit of a client that has been extended to `router`, and the link between the two ORs.
    func extended(to router: ListedRouter) throws -> (circuit: TestCircuit, next: TestPeer) {
        let circuit = try self.circuit()
        circuit.say(.extend(to: router), as: .relayEarly)
        let next = try self.outside.openDialled()
        let create = try #require(next.hear().first)
        #expect(create.command == .create && Array(create.body.prefix(3)) == ListedRouter.create)
        next.say(.created(create.circuit))
        #expect(circuit.hear() == [.message(.extended, 0)])
        return (circuit, next)
    }

    private func end() {
        self.outside.isEnding = true
        self.outside.fail()
        self.loop.stop()
        for peer in self.peers + self.outside.dialled { _ = try? peer.channel.finish(acceptAlreadyClosed: true) }
        for channel in self.outside.channels { _ = try? channel.finish(acceptAlreadyClosed: true) }
        self.eventLoop.advanceTime(by: .hours(1))
    }
}

/// An OR that a consensus may name; it is the test's to play.
struct ListedRouter: Sendable {
    let nickname: String
    let endpoint: Endpoint
    let identity = Ed25519PrivateKey()
    let linkKey = Ed25519PrivateKey().publicKey

    /// What a client says to it through the OR under test, which looks at none of it.
    static let create: [UInt8] = [1, 2, 3]
    static let directoryKey = Ed25519PrivateKey()
    static let heron = ListedRouter(nickname: "heron", endpoint: Endpoint(address: .v4(0xc633_6407), port: 9001))
    static let finch = ListedRouter(nickname: "finch", endpoint: Endpoint(address: .v4(0xcb00_7107), port: 9002))

    func entry(sequence: UInt64 = 1) throws -> ConsensusRouter {
        ConsensusRouter(
            descriptor: try RouterDescriptor(
                identity: self.identity.publicKey, linkKey: self.linkKey, onionKey: TestRouter.onionKey.publicKey,
                onionKeyValidUntil: 1_800_000_000, published: 1_790_000_000, sequence: sequence,
                addresses: [self.endpoint],
                nickname: self.nickname
            ).signed(by: self.identity), flags: [.guard, .exit], weight: 1)
    }
}

/// What the OR reaches: other ORs, name servers, destinations. Nothing answers before the test says so.
final class TestOutside: NameService, @unchecked Sendable {
    // @unchecked: all of it is on the test's thread.
    let eventLoop: EmbeddedEventLoop
    /// Links that the OR has dialled.
    private(set) var dialled: [TestPeer] = []
    /// Whether no other OR can be connected to.
    var isUnreachable = false
    /// Connections that are being opened.
    private(set) var connecting: [(to: Endpoint, promise: EventLoopPromise<any Channel>)] = []
    private(set) var channels: [EmbeddedChannel] = []
    /// Names that are being looked up.
    private(set) var lookups: [EventLoopPromise<NameResolver.Answer>] = []
    private(set) var pendingLimit: Int?
    /// Whether handshakes wait to be answered until ``work()``.
    var isBusy = false
    private var jobs: [@Sendable () -> Void] = []
    fileprivate var isEnding = false

    init(eventLoop: EmbeddedEventLoop) { self.eventLoop = eventLoop }

    // MARK: Other ORs

    fileprivate func dial(
        _ address: Endpoint, _ linkKey: Ed25519PublicKey, _ owner: any LinkOwner
    ) -> EventLoopFuture<NIOLoopBound<Link>> {
        guard !self.isUnreachable,
            let peer = try? TestPeer(
                isDialled: true, key: linkKey, address: "\(address.address)", owner: owner, on: self.eventLoop)
        else { return self.eventLoop.makeFailedFuture(LinkError.closed) }
        self.dialled.append(peer)
        return self.eventLoop.makeSucceededFuture(NIOLoopBound(peer.link, eventLoop: self.eventLoop))
    }

    /// The link that was dialled last, opened.
    func openDialled() throws -> TestPeer {
        let peer = try #require(self.dialled.last)
        try peer.open()
        return peer
    }

    // MARK: Handshakes

    fileprivate func run(_ job: @escaping @Sendable () -> Void) {
        if self.isBusy { self.jobs.append(job) } else { job() }
    }

    func work() {
        for job in self.jobs { job() }
        self.jobs = []
        self.eventLoop.run()
    }

    // MARK: Names and destinations

    func addresses(of name: String, on eventLoop: any EventLoop) -> EventLoopFuture<NameResolver.Answer> {
        guard !self.isEnding else { return eventLoop.makeFailedFuture(NameResolver.Failure.stopped) }
        let promise = self.eventLoop.makePromise(of: NameResolver.Answer.self)
        self.lookups.append(promise)
        return promise.futureResult
    }

    func name(of address: IPAddress, on eventLoop: any EventLoop) -> EventLoopFuture<String> {
        eventLoop.makeFailedFuture(NameResolver.Failure.noSuchName)
    }

    func update(pendingLimit: Int) { self.pendingLimit = pendingLimit }

    fileprivate func connect(to endpoint: Endpoint) -> EventLoopFuture<any Channel> {
        guard !self.isEnding else { return self.eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel) }
        let promise = self.eventLoop.makePromise(of: (any Channel).self)
        self.connecting.append((endpoint, promise))
        return promise.futureResult
    }

    /// Let the oldest connection that is being opened succeed.
    ///
    /// - Parameter isStalled: whether the destination then takes no byte.
    @discardableResult
    func connect(isStalled: Bool = false) throws -> EmbeddedChannel {
        let next = try #require(self.connecting.first)
        self.connecting.removeFirst()
        let channel = EmbeddedChannel(handler: isStalled ? Stall() : nil, loop: self.eventLoop)
        self.channels.append(channel)
        try channel.connect(to: SocketAddress(next.to)).wait()
        next.promise.succeed(channel)
        self.eventLoop.run()
        return channel
    }

    /// What the test has answered by itself.
    func forget() { (self.connecting, self.lookups) = ([], []) }

    /// Let everything that is under way fail.
    func fail() {
        let (connecting, lookups) = (self.connecting, self.lookups)
        (self.connecting, self.lookups) = ([], [])
        for each in connecting { each.promise.fail(ChannelError.connectTimeout(.zero)) }
        for each in lookups { each.fail(NameResolver.Failure.failed) }
        self.eventLoop.run()
    }
}

/// Takes writes and never says that they are done, until the channel closes.
private final class Stall: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    private var promises: [EventLoopPromise<Void>?] = []

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        self.promises.append(promise)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        for promise in self.promises { promise?.fail(ChannelError.ioOnClosedChannel) }
        self.promises = []
    }
}

/// The far end of one of the OR's links.
final class TestPeer {
    let link: Link
    let channel: EmbeddedChannel
    private let eventLoop: EmbeddedEventLoop
    private var unheard: [TestCell] = []

    fileprivate init(
        isDialled: Bool, key: Ed25519PublicKey?, address: String, owner: any LinkOwner, on eventLoop: EmbeddedEventLoop
    ) throws {
        let channel = EmbeddedChannel(loop: eventLoop)
        channel.remoteAddress = try SocketAddress(ipAddress: address, port: 40_000)
        self.eventLoop = eventLoop
        self.channel = channel
        self.link = Link(
            channel: channel, isDialler: isDialled, peer: PeerKey(publicKey: key), owner: owner,
            limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000), netInfo: { _ in .anonymous })
        try channel.pipeline.syncOperations.addHandler(self.link)
        try channel.connect(to: SocketAddress(ipAddress: address, port: 40_000)).wait()
    }

    fileprivate func open() throws {
        self.link.handshakeCompleted()
        self.say(TestCell(circuit: 0, command: .netInfo))
        #expect(self.link.isOpen)
    }

    var isOpen: Bool { self.channel.isActive }

    /// Whether the connection takes what the OR writes.
    func setReading(_ isReading: Bool) {
        self.channel.isWritable = isReading
        self.channel.pipeline.fireChannelWritabilityChanged()
        self.eventLoop.run()
    }

    /// Say cells, all in one read.
    func say(_ cells: TestCell...) { self.say(cells) }

    func say(_ cells: [TestCell]) {
        var bytes = ByteBuffer()
        for cell in cells { bytes.writeBytes(cell.bytes) }
        _ = try? self.channel.writeInbound(bytes)
        self.eventLoop.run()
    }

    /// Cells of circuits that have come since the last call.
    func hear() -> [TestCell] {
        defer { self.unheard = [] }
        self.listen()
        return self.unheard
    }

    /// Those of one circuit alone; the others stay.
    func hear(circuit: UInt32) -> [TestCell] {
        self.listen()
        defer { self.unheard.removeAll { $0.circuit == circuit } }
        return self.unheard.filter { $0.circuit == circuit }
    }

    private func listen() {
        self.eventLoop.run()
        while var buffer = try? self.channel.readOutbound(as: ByteBuffer.self) {
            while let bytes = buffer.readBytes(length: Cell.byteCount) {
                let cell = TestCell(bytes: bytes)
                if cell.circuit != 0 { self.unheard.append(cell) }
            }
        }
    }

    /// Create a circuit from this end, which has dialled.
    func create(_ number: UInt32 = 1) throws -> TestCircuit {
        let id = 0x8000_0000 | number
        let client = CircuitHandshake.Client(
            identity: TestRouter.identity, onionKey: TestRouter.onionKey.publicKey)
        self.say(TestCell(circuit: id, command: .create, body: client.create))
        let created = try #require(self.hear(circuit: id).first)
        #expect(created.command == .created)
        let body = Array(created.body.prefix(CircuitHandshake.createdByteCount))
        return TestCircuit(self, id, try client.complete(created: body))
    }

    /// Ask for a circuit by a Create that is one, or by what is none.
    func createReal(_ number: UInt32) { self.say(.real(number)) }
    func createNonsense(_ number: UInt32) { self.say(.nonsense(number)) }
}

/// One cell, as bytes.
struct TestCell: Equatable {
    var bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }

    init(circuit: UInt32, command: CellCommand, body: [UInt8] = []) {
        self.init(circuit: circuit, rawCommand: command.rawValue, body: body)
    }

    init(circuit: UInt32, rawCommand: UInt8, body: [UInt8] = []) {
        let header = (0..<4).map { UInt8(truncatingIfNeeded: circuit >> (24 - 8 * $0)) } + [rawCommand]
        self.bytes = header + body + [UInt8](repeating: 0, count: Cell.bodyByteCount - body.count)
    }

    /// A Created as an OR takes it, which knows only its form.
    static func created(_ circuit: UInt32, extensionByteCount: Int = 0) -> TestCell {
        var body = [UInt8](repeating: 7, count: CircuitHandshake.createdByteCount + extensionByteCount)
        (body[1120], body[1121]) = (UInt8(extensionByteCount >> 8), UInt8(extensionByteCount & 255))
        return TestCell(circuit: circuit, command: .created, body: body)
    }

    /// A Create from the side that has dialled.
    static func real(_ number: UInt32) -> TestCell {
        let client = CircuitHandshake.Client(identity: TestRouter.identity, onionKey: TestRouter.onionKey.publicKey)
        return TestCell(circuit: 0x8000_0000 | number, command: .create, body: client.create)
    }

    /// One that is none.
    static func nonsense(_ number: UInt32) -> TestCell {
        TestCell(circuit: 0x8000_0000 | number, command: .create, body: [9, 9])
    }

    static func destroy(_ circuit: UInt32) -> TestCell { TestCell(circuit: circuit, command: .destroy) }

    var circuit: UInt32 { self.bytes.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }
    var command: CellCommand? { CellCommand(rawValue: self.bytes[4]) }
    var body: ArraySlice<UInt8> { self.bytes[Cell.headerByteCount...] }
}
