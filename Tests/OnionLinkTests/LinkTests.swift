import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import OnionAddress
import OnionCells
import OnionCrypto
import Testing

@testable import OnionLink

@Suite("Link over loopback", .timeLimit(.minutes(1)))
struct LinkTests {
    @Test("opens between two ORs, and each knows the other's key")
    func betweenRouters() async throws {
        try await withLinks(dialler: .some(Ed25519PrivateKey())) { dialled, accepted, keys in
            let dialledPeer = try await dialled.opened()
            #expect(dialledPeer == keys.listener)
            let acceptedPeer = try await accepted.opened()
            #expect(acceptedPeer == keys.dialler)
        }
    }

    @Test("opens for a proxy, which shows no key")
    func fromProxy() async throws {
        try await withLinks(dialler: nil) { dialled, accepted, keys in
            let dialledPeer = try await dialled.opened()
            #expect(dialledPeer == keys.listener)
            let acceptedPeer = try await accepted.opened()
            #expect(acceptedPeer == nil)
        }
    }

    @Test("carries cells both ways, whole and in order")
    func carriesCells() async throws {
        try await withLinks(dialler: nil) { dialled, accepted, _ in
            _ = try await dialled.opened()
            _ = try await accepted.opened()
            let circuit = CircuitID(rawValue: 0x8000_0001)
            try await dialled.send((0..<100).map { index in (circuit, CellCommand.relay, [UInt8(index)]) })
            let received = try await accepted.cells(100)
            #expect(received.map { $0.body[0] } == (0..<100).map { UInt8($0) })
            #expect(received.allSatisfy { $0.circuit == circuit && $0.body.count == Cell.bodyByteCount })
            try await accepted.send([(circuit, .destroy, [6])])
            let answer = try await dialled.cells(1)
            #expect(answer.first?.body[0] == 6)
        }
    }

    @Test("refuses a peer that holds another key than the one that was asked for")
    func wrongKey() async throws {
        try await withLinks(dialler: nil, expecting: Ed25519PrivateKey().publicKey) { dialled, _, _ in
            await #expect(throws: LinkError.self) { try await dialled.opened() }
        }
    }
}

@Suite("Link protocol negotiation", .timeLimit(.minutes(1)))
struct LinkNegotiationTests {
    @Test("TLS 1.2 is not spoken", arguments: [TLSVersion.tlsv12, .tlsv13])
    func oldTLS(version: TLSVersion) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let listening = try LinkTransport(
            credentials: LinkCredentials(linkKey: Ed25519PrivateKey()),
            limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000), netInfo: { _ in .anonymous })
        let accepted = RecordingOwner(eventLoop: group.any())
        let listener = try await listening.listen(
            on: SocketAddress(ipAddress: "127.0.0.1", port: 0), group: group, admit: { _ in true },
            owner: { _ in accepted }
        ).get()
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.certificateVerification = .none
        tls.applicationProtocols = [LinkProtocol.link.rawValue]
        tls.verifySignatureAlgorithms = [.ed25519]
        tls.maximumTLSVersion = version
        let context = try NIOSSLContext(configuration: tls)
        let isUp = group.any().makePromise(of: Bool.self)
        let channel = try await ClientBootstrap(group: group).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandlers([
                    NIOSSLClientHandler(context: context, serverHostname: nil), HandshakeWitness(isUp),
                ])
            }
        }.connect(to: try #require(listener.localAddress)).get()
        #expect(try await isUp.futureResult.get() == (version == .tlsv13))
        try? await channel.close()
        try await listener.close()
        try await group.shutdownGracefully()
    }

    @Test("a peer that speaks another protocol is closed, and no link opens")
    func wrongProtocol() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.any()
        let listening = try LinkTransport(
            credentials: LinkCredentials(linkKey: Ed25519PrivateKey()),
            limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000), netInfo: { _ in .anonymous })
        let accepted = RecordingOwner(eventLoop: loop)
        let listener = try await listening.listen(
            on: SocketAddress(ipAddress: "127.0.0.1", port: 0), group: group, admit: { _ in true },
            owner: { _ in accepted }
        ).get()
        let tls = try LinkTLS(credentials: nil, protocol: .directory)
        let channel = try await ClientBootstrap(group: group).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: nil)
            }
        }.connect(to: try #require(listener.localAddress)).get()
        await #expect(throws: LinkError.self) { try await accepted.opened() }
        try await channel.closeFuture.get()
        try await listener.close()
        try await group.shutdownGracefully()
    }
}

/// Says whether TLS came up before the connection ended.
private final class HandshakeWitness: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    private let isUp: EventLoopPromise<Bool>
    init(_ isUp: EventLoopPromise<Bool>) { self.isUp = isUp }
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent { self.isUp.succeed(true) }
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    func channelInactive(context: ChannelHandlerContext) { self.isUp.succeed(false) }
}

/// Runs `body` with both ends of a link on loopback.
private func withLinks(
    dialler: Ed25519PrivateKey?, expecting expected: Ed25519PublicKey? = nil,
    _ body: (RecordingOwner, RecordingOwner, (dialler: Ed25519PublicKey?, listener: Ed25519PublicKey)) async throws ->
        Void
) async throws {
    let listenerKey = Ed25519PrivateKey()
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let limits = LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000)
    let accepting = try LinkTransport(credentials: LinkCredentials(linkKey: listenerKey), limits: limits) {
        NetInfo(unixTime: 1, observedAddress: $0)
    }
    let dialling = try LinkTransport(credentials: dialler.map { try LinkCredentials(linkKey: $0) }, limits: limits) {
        _ in .anonymous
    }
    let accepted = RecordingOwner(eventLoop: group.any())
    let dialled = RecordingOwner(eventLoop: group.any())
    let listener = try await accepting.listen(
        on: SocketAddress(ipAddress: "127.0.0.1", port: 0), group: group, admit: { _ in true },
        owner: { _ in accepted }
    ).get()
    let endpoint = try #require(listener.localAddress.flatMap(Endpoint.init))
    _ = try await group.any().flatSubmit {
        dialling.dial(endpoint, linkKey: expected ?? listenerKey.publicKey, on: group.any(), owner: dialled).map { _ in
        }
    }.get()
    try await body(dialled, accepted, (dialler?.publicKey, listenerKey.publicKey))
    try await listener.close()
    try await dialled.close()
    try await accepted.close()
    try await group.shutdownGracefully()
}

/// Keeps what a link says. On one event loop; what tests ask of it goes there.
private final class RecordingOwner: LinkOwner, @unchecked Sendable {
    // @unchecked: all state is touched on `eventLoop` alone; the functions below hop to it.
    struct ReceivedCell: Sendable {
        let circuit: CircuitID
        let body: [UInt8]
    }

    private let eventLoop: any EventLoop
    private var link: Link?
    private let open: EventLoopPromise<Ed25519PublicKey?>
    private var received: [ReceivedCell] = []
    private var waiting: (count: Int, promise: EventLoopPromise<[ReceivedCell]>)?

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        self.open = eventLoop.makePromise()
    }

    func opened() async throws -> Ed25519PublicKey? {
        let timer = self.eventLoop.scheduleTask(in: .seconds(10)) { self.open.fail(LinkError.handshakeTimedOut) }
        defer { timer.cancel() }
        return try await self.open.futureResult.get()
    }

    func send(_ cells: [(CircuitID, CellCommand, [UInt8])]) async throws {
        try await self.eventLoop.submit {
            for (circuit, command, body) in cells { self.link?.send(circuit: circuit, command: command, body: body) }
        }.get()
    }

    func cells(_ count: Int) async throws -> [ReceivedCell] {
        try await self.eventLoop.flatSubmit {
            let promise = self.eventLoop.makePromise(of: [ReceivedCell].self)
            self.waiting = (count, promise)
            self.tell()
            return promise.futureResult
        }.get()
    }

    func close() async throws { try await self.eventLoop.submit { self.link?.close() }.get() }

    private func tell() {
        guard let (count, promise) = self.waiting, self.received.count >= count else { return }
        self.waiting = nil
        promise.succeed(self.received)
    }

    func linkOpened(_ link: Link) {
        self.link = link
        self.open.succeed(link.peerKey)
    }

    func link(_ link: Link, received cells: inout CellBatch) {
        cells.forEachCell { header, cell in
            guard header.circuitID != .link else { return }
            let body = cell.bytes.extracting(Cell.headerByteCount..<Cell.byteCount).withUnsafeBytes { [UInt8]($0) }
            self.received.append(ReceivedCell(circuit: header.circuitID, body: body))
        }
        self.tell()
    }

    func link(_ link: Link, hasRoomFor circuit: CircuitID) {}
    func link(_ link: Link, overflowed circuit: CircuitID) {}
    func linkClosed(_ link: Link, error: LinkError) { self.open.fail(error) }
}
