import Logging
import NIOCore
import NIOPosix
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink

@testable import OnionClient

/// A client's core without a network: its guards do not answer, or cannot be reached at all.
struct CoreAlone: Sendable {
    let stateDirectory: String
    let loop: any EventLoop
    let consensus: Consensus
    let core: NIOLoopBoundBox<ClientCore>
    fileprivate let dialler: NIOLoopBoundBox<DeadDialler>

    /// Do something on the loop; what was done before has had its turn.
    func onLoop<T: Sendable>(_ body: @escaping @Sendable (ClientCore) throws -> T) async throws -> T {
        try await self.loop.submit { try body(self.core.value) }.get()
    }

    /// How many links were dialled.
    func dialCount() async throws -> Int { try await self.loop.submit { self.dialler.value.count }.get() }

    /// The link keys of all guards that were dialled.
    func dialledKeys() async throws -> Set<Ed25519PublicKey> {
        try await self.loop.submit { self.dialler.value.linkKeys }.get()
    }
}

/// Run `body` with a core that knows these routers.
///
/// - Parameters:
///   - assignments: network parameters, as `NAME=VALUE`.
///   - age: for how many seconds the consensus has been valid when the core gets it.
///   - dialFails: whether no guard can be reached, as is found out at once.
///   - change: made to the limits.
///   - begin: done in the turn in which the core gets its consensus, before it does anything.
func withCoreAlone(
    _ routers: [ConsensusRouter], _ assignments: [String] = [], age: UInt64 = 60, dialFails: Bool = false,
    change: (inout OnionClient.Limits) -> Void = { _ in },
    begin: @escaping @Sendable (ClientCore) -> Void = { _ in }, _ body: (CoreAlone) async throws -> Void
) async throws {
    let world = try TestWorld()
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let consensus = try makeConsensus(
        routers, now: TimeAndChance.system.unixSeconds + 60 - age,
        parameters: .testNetwork.setting(["circuit-build-timeout-ms=600000"] + assignments),
        key: world.directoryKey)
    var configuration = OnionClient.Configuration(
        directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: world.directoryKey.publicKey,
        stateDirectory: world.stateDirectory)
    // Nothing happens by the clock, however slow the machine is.
    configuration.limits.guardLinkTimeLimit = .hours(1)
    configuration.limits.slowBuildAfter = .hours(1)
    change(&configuration.limits)
    let core = NIOLoopBoundBox.makeBoxSendingValue(
        ClientCore(
            eventLoop: loop, configuration: configuration, board: ProgressBoard(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }),
        eventLoop: loop)
    let dialler = NIOLoopBoundBox.makeBoxSendingValue(DeadDialler(fails: dialFails), eventLoop: loop)
    try await loop.submit {
        core.value.start { _, linkKey, _ in dialler.value.dial(linkKey, on: loop) }
        core.value.adopt(consensus)
        begin(core.value)
    }.get()
    let result: Result<Void, any Error>
    do {
        result = .success(
            try await body(
                CoreAlone(
                    stateDirectory: world.stateDirectory, loop: loop, consensus: consensus, core: core, dialler: dialler
                )))
    } catch {
        result = .failure(error)
    }
    try await loop.submit {
        core.value.shutDown()
        dialler.value.finish()
    }.get()
    withExtendedLifetime(world) {}
    try result.get()
}

/// Dials nobody: every attempt hangs, or fails at once.
private final class DeadDialler {
    private let fails: Bool
    private(set) var linkKeys: Set<Ed25519PublicKey> = []
    private(set) var count = 0
    private var hanging: [EventLoopPromise<NIOLoopBound<Link>>] = []

    init(fails: Bool) { self.fails = fails }

    func dial(_ linkKey: Ed25519PublicKey, on loop: any EventLoop) -> EventLoopFuture<NIOLoopBound<Link>> {
        self.linkKeys.insert(linkKey)
        self.count += 1
        if self.fails { return loop.makeFailedFuture(ChannelError.eof) }
        let promise = loop.makePromise(of: NIOLoopBound<Link>.self)
        self.hanging.append(promise)
        return promise.futureResult
    }

    func finish() { for promise in self.hanging { promise.fail(ChannelError.eof) } }
}
