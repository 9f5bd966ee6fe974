import NIOCore
import NIOEmbedded
import NIOPosix
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionStreams
import Testing

@testable import OnionClient
@testable import OnionLink

@Suite("Client circuit", .timeLimit(.minutes(1)))
struct ClientCircuitTests {
    @Test("streams are held back once so many cells of the circuit wait for the link, and not before")
    func backlog() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let loop = group.next()
        // It says nothing, so the link does not open, and every cell waits.
        let silent = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let port = UInt16(silent.localAddress?.port ?? 0)
        let transport = try LinkTransport(
            credentials: nil, limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000),
            netInfo: { _ in .anonymous })
        let path = try (0..<3).map { try TestRouter().listed("router\($0)", port: port) }
        let owner = NIOLoopBoundBox.makeBoxSendingValue(Bystander(), eventLoop: loop)
        let link = try await loop.flatSubmit {
            transport.dial(
                Endpoint(address: .v4(0x7f00_0001), port: port), linkKey: path[0].linkKey, on: loop, owner: owner.value)
        }.get()
        try await loop.submit {
            let (link, settings) = (link.value, ClientCircuit.Settings(NetworkParameters()))
            let circuit = ClientCircuit(
                key: CircuitPool.CircuitKey(rawValue: 1), path: path, settings: settings, padding: PaddingSourceBox(),
                eventLoop: loop, owner: owner.value)
            var ids = CircuitIDAllocator(isDialler: true)
            let allocated = ids.allocate()
            let id = try #require(allocated)
            circuit.begin(on: link, as: id) {}
            let endpoint = CircuitEndpoint(
                role: .client, eventLoop: loop, congestion: settings.congestion, limits: settings.streams,
                padding: PaddingSourceBox(), owner: circuit)
            #expect(link.backlog(of: id) == 1)
            for _ in 1..<ClientCircuit.backlogLimit - 1 {
                link.send(circuit: id, command: .padding, body: EmptyCollection())
            }
            #expect(circuit.endpointHasRoom(endpoint))
            link.send(circuit: id, command: .padding, body: EmptyCollection())
            #expect(link.backlog(of: id) == ClientCircuit.backlogLimit)
            #expect(!circuit.endpointHasRoom(endpoint))
            circuit.close()
            link.close()
        }.get()
        try await silent.close().get()
    }

    @Test(
        "a cell that says nothing ends the circuit, whichever hop it comes from, complete or not",
        arguments: [2, 3], 0..<3)
    func emptyCell(answeredCount: Int, hop: Int) throws {
        guard hop < answeredCount else { return }
        let routers = try ScriptedRouters(count: 3)
        for _ in 0..<answeredCount { try routers.answer() }
        #expect(routers.circuit.isReady == (answeredCount == 3) && routers.owner.errors.isEmpty)
        routers.say([], from: hop)
        #expect(routers.owner.errors == [.messageNotAllowed(.drop)])
    }
}

/// The routers of one circuit, which say what the test wants.
private final class ScriptedRouters {
    let owner = Bystander()
    let circuit: ClientCircuit
    private let loop = EmbeddedEventLoop()
    private let channel: EmbeddedChannel
    private let routers: [TestRouter]
    private let padding = PaddingSourceBox()
    private let id: CircuitID
    private var hops: [(forward: HopCipher, backward: HopCipher)] = []

    init(count: Int) throws {
        self.routers = (0..<count).map { _ in TestRouter() }
        let path = try self.routers.enumerated().map { try $0.element.listed("router\($0.offset)", port: 9001) }
        self.channel = EmbeddedChannel(loop: self.loop)
        let link = Link(
            channel: self.channel, isDialler: true, peer: PeerKey(publicKey: path[0].linkKey), owner: self.owner,
            limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000), netInfo: { _ in .anonymous })
        try self.channel.pipeline.syncOperations.addHandler(link)
        try self.channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 9001)).wait()
        link.handshakeCompleted()
        let netInfo = [0, 0, 0, 0, CellCommand.netInfo.rawValue] + [UInt8](repeating: 0, count: Cell.bodyByteCount)
        try self.channel.writeInbound(ByteBuffer(bytes: netInfo))
        var ids = CircuitIDAllocator(isDialler: true)
        let allocated = ids.allocate()
        self.id = try #require(allocated)
        self.circuit = ClientCircuit(
            key: CircuitPool.CircuitKey(rawValue: 1), path: path, settings: .init(NetworkParameters()),
            padding: self.padding, eventLoop: self.loop, owner: self.owner)
        self.circuit.begin(on: link, as: self.id) {}
    }

    /// The body of the cell that the client has sent last.
    private func sentBody() throws -> [UInt8] {
        self.loop.run()
        var sent = ByteBuffer()
        while var bytes = try self.channel.readOutbound(as: ByteBuffer.self) { sent.writeBuffer(&bytes) }
        return Array(buffer: sent).suffix(Cell.bodyByteCount)
    }

    /// The next router answers the Create or Extend.
    func answer() throws {
        var body = try self.sentBody()
        if let last = self.hops.indices.last {
            do {
                var bytes = body.mutableSpan
                var span = bytes.mutableBytes
                for (index, hop) in self.hops.enumerated() {
                    let tag = hop.forward.forward(command: CellCommand.relayEarly.rawValue, body: &span)
                    #expect((tag != nil) == (index == last))
                }
            }
            var walker = RelayMessageWalker()
            body = Array(body.dropFirst(Cell.tagByteCount))
            let message = try #require(try walker.next(in: body.span.bytes))
            body = Array(body[message.data].dropFirst(32))
        }
        let create = Array(body.prefix(CircuitHandshake.createByteCount))
        let router = self.routers[self.hops.count]
        let server = CircuitHandshake.Server(identity: router.identity.publicKey, onionKeys: [router.onionKey])
        let (created, keys) = try server.respond(to: create)
        defer { self.hops.append((keys.makeForward(), keys.makeBackward())) }
        guard let last = self.hops.indices.last else {
            let rest = [UInt8](repeating: 0, count: Cell.bodyByteCount - created.count)
            return self.give(.created, created + rest)
        }
        self.say([(.extended, created)], from: last)
    }

    /// A hop says messages of the circuit, in one cell.
    func say(_ messages: [(RelayCommand, [UInt8])], from hop: Int) {
        var body = [UInt8](repeating: 0, count: Cell.bodyByteCount)
        do {
            var bytes = body.mutableSpan
            var span = bytes.mutableBytes
            var payload = span._mutatingExtracting(Cell.tagByteCount..<Cell.bodyByteCount)
            for (command, data) in messages {
                self.padding.pack(command, streamID: .circuit, data: data, into: &payload)
            }
            _ = self.hops[hop].backward.originate(command: CellCommand.relay.rawValue, body: &span)
            for before in self.hops[..<hop].reversed() {
                before.backward.backward(command: CellCommand.relay.rawValue, body: &span)
            }
        }
        self.give(.relay, body)
    }

    private func give(_ command: CellCommand, _ body: [UInt8]) {
        var cell =
            (0..<4).map { UInt8(truncatingIfNeeded: self.id.rawValue >> (24 - 8 * $0)) } + [command.rawValue] + body
        var bytes = cell.mutableSpan
        var span = bytes.mutableBytes
        self.circuit.cellReceived(CellHeader(of: span.bytes), &span)
        self.loop.run()
    }
}

/// Hears of a link and a circuit, and remembers no more than how that ended.
private final class Bystander: LinkOwner, ClientCircuitOwner {
    private(set) var errors: [CircuitError] = []

    func linkOpened(_ link: Link) {}
    func link(_ link: Link, received cells: inout CellBatch) {}
    func link(_ link: Link, hasRoomFor circuit: CircuitID) {}
    func link(_ link: Link, overflowed circuit: CircuitID) {}
    func linkClosed(_ link: Link, error: LinkError) {}
    func circuitReady(_ circuit: ClientCircuit) {}
    func circuit(_ circuit: ClientCircuit, closed stream: OnionStream) {}
    func circuit(_ circuit: ClientCircuit, ended error: CircuitError) { self.errors.append(error) }
}
