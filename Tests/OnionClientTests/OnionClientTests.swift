import Logging
import NIOCore
import NIOPosix
import OnionCells
import OnionCrypto
import OnionLink
import Testing

@testable import OnionClient

@Suite("Client as its user has it", .timeLimit(.minutes(1)))
struct OnionClientTests {
    private func client(_ world: TestWorld) throws -> OnionClient {
        try OnionClient(
            configuration: OnionClient.Configuration(
                directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: world.directoryKey.publicKey,
                stateDirectory: world.stateDirectory),
            group: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Test("shows its guard no certificate, and tells it neither a time nor an address")
    func anonymous() async throws {
        let world = try TestWorld()
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let listening = try LinkTransport(
            credentials: LinkCredentials(linkKey: world.linkKey),
            limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000),
            netInfo: { _ in .anonymous })
        let seen = loop.makePromise(of: PeerRecorder.Peer.self)
        let server = try await listening.listen(
            on: SocketAddress(ipAddress: "127.0.0.1", port: 0), group: loop, admit: { _ in true },
            owner: { _ in PeerRecorder(seen) }
        ).get()
        let port = UInt16(server.localAddress?.port ?? 0)
        let consensus = try makeConsensus(
            world.routers.map { try $0.listed("router", port: port, linkKey: world.linkKey.publicKey) },
            now: TimeAndChance.system.unixSeconds)
        let client = try self.client(world)
        let running = Task { try await client.run() }
        // Once it asks its directory, which is not there, it can dial.
        for await progress in client.progress where progress.percent > 0 { break }
        client.withCore { $0.adopt(consensus) }
        #expect(try await seen.futureResult.get() == PeerRecorder.Peer(linkKey: nil, netInfo: .anonymous))
        running.cancel()
        _ = await running.result
        try await server.close()
    }

    @Test("what is asked for waits under the isolation that it came with, and with its wish")
    func isolation() async throws {
        let client = try self.client(TestWorld())
        let (stream, lookUp) = (IsolationKey(protocolName: "stream"), IsolationKey(protocolName: "look-up"))
        let wish = ExitWish(countries: .only(["SE"]))
        _ = client.open(StreamRequest(host: "a.test", port: 80, isolation: stream, exit: wish))
        _ = client.resolve(.addresses(of: "a.test"), isolation: lookUp, exit: wish)
        let waiting = client.eventLoop.makePromise(of: [IsolationKey: CircuitWish].self)
        client.withCore { core in
            waiting.succeed(
                Dictionary(core.waiting.values.map { ($0.isolation, $0.wish) }, uniquingKeysWith: { $1 }))
            core.shutDown()
        }
        #expect(try await waiting.futureResult.get() == [stream: .port(80, exit: wish), lookUp: .resolver(wish)])
    }

    @Test("what cannot be asked for is refused at once", arguments: [("a.test", 0), ("", 80), ("a\0b", 80)])
    func invalid(host: String, port: UInt16) async throws {
        let client = try self.client(TestWorld())
        let key = IsolationKey(protocolName: "test")
        let request = StreamRequest(host: host, port: port, isolation: key)
        let (opened, traced) = (client.open(request), client.trace(request))
        let resolved = client.resolve(.addresses(of: host), isolation: key)
        // What was taken up all the same hears of the end instead.
        client.withCore { $0.shutDown() }
        await #expect(throws: StreamFailure.invalidRequest) { try await opened.get() }
        let result = try await traced.get().result
        #expect(throws: StreamFailure.invalidRequest) { try result.get() }
        let expected = port == 0 ? StreamFailure.shuttingDown : .invalidRequest
        await #expect(throws: expected) { try await resolved.get() }
    }
}

/// Tells what the first peer that opens a link has said of itself.
private final class PeerRecorder: LinkOwner {
    struct Peer: Equatable, Sendable {
        let linkKey: Ed25519PublicKey?
        let netInfo: NetInfo?
    }
    private let seen: EventLoopPromise<Peer>

    init(_ seen: EventLoopPromise<Peer>) { self.seen = seen }

    func linkOpened(_ link: Link) { self.seen.succeed(Peer(linkKey: link.peerKey, netInfo: link.peerNetInfo)) }
    func link(_ link: Link, received cells: inout CellBatch) {}
    func link(_ link: Link, hasRoomFor circuit: CircuitID) {}
    func link(_ link: Link, overflowed circuit: CircuitID) {}
    func linkClosed(_ link: Link, error: LinkError) {}
}
