import GRDB
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionLink
import TestSupport

@testable import DirectoryServer

/// A directory server's state without connections, on a clock that stands until it is moved.
struct TestCore: Sendable {
    let core: DirectoryCore
    let lanes: ProbeLanes
    let store: RegistryStore
    /// Of 1024 bytes.
    let answers = AnswerBudget(limit: 1024, metrics: ServerMetrics())
    let clock: TestClock
    let server: DirectoryServer
    private let directory: TemporaryDirectory
    private let reachedLimits = NIOLockedValueBox<[ServerLimit]>([])
    private let messages: NIOLockedValueBox<[(message: String, reason: String?)]>

    /// Limits that kept somebody from something, in order.
    var reached: [ServerLimit] { self.reachedLimits.withLockedValue { $0 } }
    /// What was logged.
    var logged: [String] { self.messages.withLockedValue { $0.map(\.message) } }
    /// What was logged with a reason.
    var reasons: [String] {
        self.messages.withLockedValue { $0.compactMap { line in line.reason.map { "\(line.message): \($0)" } } }
    }

    init(
        connections: (inout ConnectionLimits) -> Void = { _ in }, registry: (inout RegistryLimits) -> Void = { _ in },
        stored: [StoredRouter] = [], probing: (any RouterProbing)? = nil
    ) throws {
        let directory = try TemporaryDirectory()
        let clock = TestClock()
        let messages = NIOLockedValueBox<[(message: String, reason: String?)]>([])
        let logger = Logger(label: "test") { _ in
            EventLog { event in
                messages.withLockedValue { $0.append(("\(event.message)", event.metadata?["reason"].map { "\($0)" })) }
            }
        }
        var configuration = DirectoryServer.Configuration(
            host: "127.0.0.1", port: 0, directoryKey: Ed25519PrivateKey(), linkKey: Ed25519PrivateKey(),
            routers: .anyone, parameters: NetworkParameters(), databasePath: directory.file("registry.sqlite"))
        connections(&configuration.connectionLimits)
        registry(&configuration.registryLimits)
        let (lanes, requests) = ProbeLanes.make()
        let reached = self.reachedLimits
        self.store = try RegistryStore(path: configuration.databasePath)
        self.core = DirectoryCore(
            configuration: configuration,
            registry: Registry(
                limits: configuration.registryLimits, admission: .open, stored: stored, lastRevision: 0,
                now: clock.outside.now()),
            store: self.store, probeRequests: requests,
            answers: self.answers,
            metrics: ServerMetrics { limit in reached.withLockedValue { $0.append(limit) } }, outside: clock.outside,
            logger: logger)
        self.server = try DirectoryServer(
            configuration: configuration, probing: probing, group: MultiThreadedEventLoopGroup.singleton,
            outside: clock.outside,
            logger: logger, listening: { _ in })
        self.lanes = lanes
        self.clock = clock
        self.directory = directory
        self.messages = messages
    }

    func connect() async -> ConnectionID? { await self.core.admit(.v4(0x0808_0404)) { _ in } }

    /// Ask for a router to be registered, and return once its probe is due, or the registration has been refused.
    func register(
        _ router: TestRouter, sequence: UInt64 = 1
    ) async throws -> (outcome: Task<UInt64, any Error>, probe: RouterProbe?) {
        guard let connection = await self.connect() else { throw TestFailure("no connection") }
        let descriptor = try router.descriptor(sequence: sequence, published: self.clock.outside.unixSeconds)
        let core = self.core
        let outcome = Task {
            try await core.register(descriptor, over: connection, peerKey: router.linkKey.publicKey)
        }
        var newcomers = self.lanes.newcomers.makeAsyncIterator()
        return (outcome, await newcomers.next())
    }

    /// Nothing can be stored any more.
    func breakStore() throws { try self.store.database.write { try $0.execute(sql: "DROP TABLE router") } }
}

/// Time that passes when a test says so.
struct TestClock: Sendable {
    /// Milliseconds since the start: of the server's own clock, and of the time of day.
    private let passed = NIOLockedValueBox<(own: Int64, wall: Int64)>((0, 0))

    func advance(_ milliseconds: Int64) {
        self.passed.withLockedValue {
            $0.own += milliseconds
            $0.wall += milliseconds
        }
    }

    func turnBack(_ milliseconds: Int64) { self.passed.withLockedValue { $0.wall -= milliseconds } }

    /// Whoever sleeps moves the time.
    var outside: TimeAndChance {
        TimeAndChance(
            now: { .uptimeNanoseconds(0) + .milliseconds(self.passed.withLockedValue { $0.own }) },
            unixMilliseconds: {
                TestRegistry.startSeconds * 1000 + UInt64(self.passed.withLockedValue { $0.wall })
            },
            sleep: {
                try Task.checkCancellation()
                self.advance($0.nanoseconds / 1_000_000)
                await Task.yield()
            },
            randomBytes: SecureRandom.bytes32)
    }
}
