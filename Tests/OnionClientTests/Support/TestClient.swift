import Logging
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink
import Testing

import class Foundation.FileManager

@testable import OnionClient

/// What stays the same when a client is started again; its directory goes away with it.
final class TestWorld: Sendable {
    let routers = (0..<5).map { _ in TestRouter() }
    let linkKey = Ed25519PrivateKey()
    let directoryKey = Ed25519PrivateKey()
    let stateDirectory: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appending(path: "client-test-\(someKey().base64URL)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        self.stateDirectory = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: self.stateDirectory) }
}

/// A client without a directory, and the network that it is given.
struct TestClient: Sendable {
    let loop: any EventLoop
    let core: NIOLoopBoundBox<ClientCore>
    let network: NIOLoopBoundBox<ScriptedNetwork>
    /// What it dials by, and what it was told.
    let transport: LinkTransport
    let consensus: Consensus

    func onLoop<T: Sendable>(
        _ body: @escaping @Sendable (ClientCore, ScriptedNetwork) throws -> T
    ) async throws -> T {
        try await self.loop.submit { try body(self.core.value, self.network.value) }.get()
    }

    /// Expect so many Begins for the host to have come to exits.
    func expectBegins(_ host: String, _ count: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let begins = try await self.onLoop { _, network in network.begins[host] ?? 0 }
        #expect(begins == count, sourceLocation: sourceLocation)
    }

    func untilReady() async throws {
        let board = try await self.onLoop { core, _ in core.board }
        for await progress in board.updates() where progress.isReady { return }
    }

    func open(
        _ host: String, port: UInt16 = 443, user: String = "", exit: ExitWish = .any, earlyData: String = "",
        patience: TimeAmount = .seconds(20)
    ) -> EventLoopFuture<OpenedStream> {
        let promise = self.loop.makePromise(of: OpenedStream.self)
        self.add(
            .stream(.host(host, port: port), earlyData: ByteBuffer(string: earlyData), promise),
            .port(port, exit: exit),
            user, patience)
        return promise.futureResult
    }

    func resolve(_ name: String) -> EventLoopFuture<Resolved> {
        let promise = self.loop.makePromise(of: Resolved.self)
        self.add(.lookUp(.addresses(of: name), promise), .resolver, "")
        return promise.futureResult
    }

    func discard(_ stream: OpenedStream) { stream.discard() }

    private func add(
        _ goal: PendingRequest.Goal, _ wish: CircuitWish, _ user: String, _ patience: TimeAmount = .seconds(20)
    ) {
        let core = self.core
        self.loop.execute {
            core.value.addNew(
                PendingRequest(
                    goal, wish: wish, isolation: IsolationKey(protocolName: "test", username: Array(user.utf8)),
                    deadline: .now() + patience, limits: OnionClient.Limits(), owner: core.value))
        }
    }
}

/// Run `body` with a client that has a consensus of five routers.
///
/// - Parameter assignments: network parameters, as `NAME=VALUE`.
@discardableResult
func withClient<T: Sendable>(
    _ world: TestWorld? = nil, _ assignments: [String] = [], revealsDestinations: Bool = false,
    limits: OnionClient.Limits = OnionClient.Limits(),
    _ body: (TestClient) async throws -> T
) async throws -> T {
    let world = try world ?? TestWorld()
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let loop = group.next()
    let linkLimits = LinkLimits(queuedCellsPerCircuit: 20_000, queuedCellsPerLink: 40_000)
    let listening = try LinkTransport(
        credentials: LinkCredentials(linkKey: world.linkKey), limits: linkLimits, netInfo: { _ in .anonymous })
    let dialling = try LinkTransport(credentials: nil, limits: linkLimits, netInfo: { _ in .anonymous })

    let network = NIOLoopBoundBox.makeBoxSendingValue(ScriptedNetwork(routers: world.routers), eventLoop: loop)
    let server = try await listening.listen(
        on: SocketAddress(ipAddress: "127.0.0.1", port: 0), group: group, admit: { _ in true },
        owner: { _ in network.value }
    ).get()
    let port = UInt16(server.localAddress?.port ?? 0)
    let consensus = try makeConsensus(
        world.routers.enumerated().map { index, router in
            try router.listed(
                "router\(index)", port: port, linkKey: world.linkKey.publicKey,
                policy: ["reject *:25", "accept *:*"], country: ["DE", "FR", "SE", "US", "JP"][index % 5])
        }, now: TimeAndChance.system.unixSeconds, parameters: .testNetwork.setting(assignments),
        key: world.directoryKey)
    var configuration = OnionClient.Configuration(
        directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: world.directoryKey.publicKey,
        stateDirectory: world.stateDirectory)
    configuration.revealsDestinations = revealsDestinations
    configuration.limits = limits
    let core = NIOLoopBoundBox.makeBoxSendingValue(
        ClientCore(
            eventLoop: loop, configuration: configuration,
            board: ProgressBoard(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }),
        eventLoop: loop)
    try await loop.submit {
        core.value.start { dialling.dial($0, linkKey: $1, on: loop, owner: $2) }
        core.value.adopt(consensus)
    }.get()
    let result: Result<T, any Error>
    do {
        result = .success(
            try await body(
                TestClient(loop: loop, core: core, network: network, transport: dialling, consensus: consensus)))
    } catch {
        result = .failure(error)
    }
    try await loop.submit { core.value.shutDown() }.get()
    try? await server.close()
    try await group.shutdownGracefully()
    return try result.get()
}

/// Collects what comes until the other side closes.
final class Collector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    let promise: EventLoopPromise<ByteBuffer>
    private var bytes = ByteBuffer()

    init(promise: EventLoopPromise<ByteBuffer>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.bytes.writeImmutableBuffer(self.unwrapInboundIn(data))
    }

    func channelInactive(context: ChannelHandlerContext) { self.promise.succeed(self.bytes) }
}
