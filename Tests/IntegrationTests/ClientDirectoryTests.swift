import DirectoryClient
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionLink
import Testing

@testable import OnionClient

@Suite("When a client asks its directory, by a clock of the test's", .timeLimit(.minutes(1)))
struct ClientDirectoryTests {
    @Test("a directory with the wrong key is asked so often, and its operator told")
    func misconfiguration() async throws {
        let run = try await self.firstFetch(.wrongDirectoryKey, Clock())
        #expect(run.askedCount == ClientDirectory.misconfigurationLimit)
        #expect(run.error?.kind == .wrongDirectory)
    }

    @Test("a directory that cannot be reached is tried for so long, and once more")
    func patience() async throws {
        let half = TimeAmount.nanoseconds(ClientDirectory.startPatience.nanoseconds / 2)
        // At the beginning, in the middle, at the end, and past it.
        let run = try await self.firstFetch(.closed, Clock(step: half))
        #expect(run.askedCount == 4)
        #expect(run.error?.kind == .directoryUnreachable)
    }

    @Test("one who draws paths without a salt asks soon, and a ticket that has just expired is none")
    func ticket() async throws {
        #expect(try await self.refresh(ticketSeconds: nil, Clock()) == .seconds(20))
        #expect(try await self.refresh(ticketSeconds: 0, Clock()) == .seconds(20))
        #expect(try await self.refresh(ticketSeconds: 1, Clock()) == .seconds(3540))
    }

    @Test("a sleep that took too long makes the last one shorter")
    func lateSleep() async throws {
        let clock = Clock(lateness: .milliseconds(500))
        #expect(try await self.refresh(ticketSeconds: nil, clock) == .seconds(20))
        #expect(clock.sleeps.last == .milliseconds(500))
    }

    /// Run a client without a consensus, whose directory always fails so.
    private func firstFetch(
        _ failure: DirectoryConnectionError, _ clock: Clock
    ) async throws -> (askedCount: Int, error: OnionClientError?) {
        let world = try World()
        let askedCount = NIOLockedValueBox(0)
        let directory = world.directory(clock) {
            let count = askedCount.withLockedValue {
                $0 += 1
                return $0
            }
            guard count < 20 else { throw CancellationError() }
            throw failure
        }
        var told: OnionClientError?
        do {
            try await directory.run()
        } catch {
            told = error as? OnionClientError
        }
        try await world.end()
        return (askedCount.withLockedValue { $0 }, told)
    }

    /// Run a client that has a consensus; return after how long it asks for another. Whatever is drawn is the highest number.
    private func refresh(ticketSeconds: UInt64?, _ clock: Clock) async throws -> TimeAmount? {
        let world = try World()
        try world.storeConsensus(now: Clock.unixSeconds)
        let asked = NIOLockedValueBox<TimeAmount?>(nil)
        let directory = world.directory(clock) {
            asked.withLockedValue { $0 = clock.passed }
            clock.end()
            throw DirectoryConnectionError.closed
        }
        if let ticketSeconds {
            let secret = SecureRandom.bytes32()
            let ticket = try PathTicket.make(
                commitment: PathSeed.commitment(to: secret), salt: SecureRandom.bytes32(),
                expires: Clock.unixSeconds + ticketSeconds, signedBy: world.directoryKey)
            try await world.loop.submit { world.core.value.adopt(ticket, for: secret) }.get()
        }
        await #expect(throws: CancellationError.self) { try await directory.run() }
        try await world.end()
        return asked.withLockedValue { $0 }
    }
}

/// A clock that goes on when somebody sleeps, and only then.
private final class Clock: Sendable {
    private struct State {
        var passed = TimeAmount.zero
        var sleeps: [TimeAmount] = []
        var isOver = false
    }

    static let unixSeconds: UInt64 = 1_800_000_000
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private let state = NIOLockedValueBox(State())
    /// What every sleep takes, whatever was asked for.
    private let step: TimeAmount?
    /// By how much the first sleep is too long.
    private let lateness: TimeAmount

    init(step: TimeAmount? = nil, lateness: TimeAmount = .zero) {
        self.step = step
        self.lateness = lateness
    }

    var passed: TimeAmount { self.state.withLockedValue { $0.passed } }
    var sleeps: [TimeAmount] { self.state.withLockedValue { $0.sleeps } }

    /// Let nobody sleep any more.
    func end() { self.state.withLockedValue { $0.isOver = true } }

    private func sleep(_ time: TimeAmount) throws {
        try self.state.withLockedValue { state in
            if state.isOver { throw CancellationError() }
            let lateness = state.sleeps.isEmpty ? self.lateness : .zero
            state.sleeps.append(time)
            state.passed = state.passed + (self.step ?? time + lateness)
        }
    }

    var outside: TimeAndChance {
        TimeAndChance(
            now: { Self.start + self.passed },
            unixMilliseconds: { Self.unixSeconds * 1000 + UInt64(self.passed.nanoseconds / 1_000_000) },
            sleep: { try self.sleep($0) },
            randomBytes: { Bytes32([UInt8](repeating: 0xFF, count: 32)) ?? .zero })
    }
}

/// A client's core and state, without a network.
private final class World: Sendable {
    let loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let directoryKey = Ed25519PrivateKey()
    let core: NIOLoopBoundBox<ClientCore>
    private let configuration: OnionClient.Configuration

    init() throws {
        let state = FileManager.default.temporaryDirectory.appending(path: "thor-client-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: state, withIntermediateDirectories: true)
        var configuration = OnionClient.Configuration(
            directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: self.directoryKey.publicKey,
            stateDirectory: state.path)
        // No circuit will ever be complete.
        configuration.limits.directFallbackAfter = .zero
        self.configuration = configuration
        self.core = NIOLoopBoundBox.makeBoxSendingValue(
            ClientCore(
                eventLoop: self.loop, configuration: configuration, board: ProgressBoard(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                unixTime: { Clock.unixSeconds }),
            eventLoop: self.loop)
    }

    /// Put a consensus of three routers on disk, fresh for 3540 seconds.
    func storeConsensus(now: UInt64) throws {
        let routers = try (0..<3).map { index in
            let identity = Ed25519PrivateKey()
            let descriptor = RouterDescriptor(
                identity: identity.publicKey, linkKey: Ed25519PrivateKey().publicKey,
                onionKey: X25519PrivateKey().publicKey, onionKeyValidUntil: 4_000_000_000, published: now - 60,
                sequence: 1, addresses: [Endpoint(address: .v4(0x7f00_0001), port: 1)], nickname: "router\(index)",
                exitPolicy: try ExitPolicy(parsing: ["accept *:*"]))
            return ConsensusRouter(
                descriptor: try descriptor.signed(by: identity), flags: [.guard, .exit], weight: 1)
        }
        let consensus = try Consensus.make(
            revision: 1, validAfter: now - 60, freshUntil: now + 3540, validUntil: now + 10_000,
            parameters: .testNetwork, routers: routers, signedBy: self.directoryKey)
        try ConsensusStore(path: "\(self.configuration.stateDirectory)/consensus").save(consensus)
    }

    func directory(
        _ clock: Clock, direct: @escaping @Sendable () async throws -> DirectoryConnection
    ) -> ClientDirectory {
        ClientDirectory(
            core: self.core, eventLoop: self.loop, configuration: self.configuration, board: ProgressBoard(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, onAlarm: { _ in },
            ways: ClientDirectory.Ways(
                direct: direct,
                through: { stream in
                    stream.discard()
                    throw CancellationError()
                }),
            outside: clock.outside)
    }

    func end() async throws {
        try await self.loop.submit { self.core.value.shutDown() }.get()
        try? FileManager.default.removeItem(atPath: self.configuration.stateDirectory)
    }
}
