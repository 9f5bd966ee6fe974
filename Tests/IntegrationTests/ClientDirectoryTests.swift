import DirectoryClient
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink
import Testing

@testable import OnionClient

@Suite("When a client asks its directory, by a clock of the test's", .timeLimit(.minutes(1)))
struct ClientDirectoryTests {
    @Test("a directory with the wrong key is asked so often, and its operator told")
    func misconfiguration() async throws {
        let clock = Clock()
        let run = try await self.firstFetch(.wrongDirectoryKey, clock)
        // With a pause between each two.
        #expect(clock.sleeps.count == run.askedCount - 1)
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

    @Test(
        "trouble with circuits is a reason to ask, not earlier than the directory can know, and at a random time",
        arguments: [(0xFF, 30...30), (0x40, 11...29)] as [(UInt8, ClosedRange<Int64>)])
    func trouble(drawn: UInt8, seconds: ClosedRange<Int64>) async throws {
        let asked = try await self.refresh(ticketSeconds: 1, Clock(drawn: drawn)) { world, consensus in
            try await world.loop.submit {
                let (core, loop) = (world.core.value, world.loop)
                let link = GuardLink(
                    router: try #require(consensus.routers.first), eventLoop: loop,
                    dial: { _, _, _ in loop.makeFailedFuture(ChannelError.eof) }, owner: core)
                core.guardLink(link, ended: .lost)
            }.get()
        }
        #expect(try seconds.contains(#require(asked).nanoseconds / 1_000_000_000))
        #expect(ClientDirectory.troubleInterval == .seconds(10) && ClientDirectory.troubleDelay == 1000...20_000)
    }

    @Test(
        "the directory is not told what one has, and its answer is news or none",
        arguments: [true, false], [4, 5, 6] as [UInt64])
    func revision(throughCircuit: Bool, served: UInt64) async throws {
        let world = try World(directFallbackAfter: throughCircuit ? .hours(1) : .zero)
        let stored = try world.storeConsensus(now: Clock.unixSeconds, revision: 5)
        let clock = Clock()
        let answers = ScriptedDirectory.Answers(
            directoryKey: world.directoryKey,
            consensus: served == 5 ? stored : try world.consensus(now: Clock.unixSeconds, revision: served))
        let askedAt = NIOLockedValueBox<[TimeAmount]>([])
        try await ScriptedDirectory.run(answers) { port in
            let dialler = try DirectoryDialler(directoryKey: world.directoryKey.publicKey, credentials: nil)
            // Twice, and then never again.
            let dial = { @Sendable () async throws -> DirectoryConnection in
                let count = askedAt.withLockedValue {
                    $0.append(clock.passed)
                    return $0.count
                }
                guard count <= 2 else {
                    clock.end()
                    throw DirectoryConnectionError.closed
                }
                return try await dialler.connect(host: "127.0.0.1", port: port, on: world.loop)
            }
            let directory = world.directory(
                clock,
                ClientDirectory.Ways(
                    direct: {
                        guard !throughCircuit else { throw CancellationError() }
                        return try await dial()
                    },
                    through: { stream in
                        stream.discard()
                        return try await dial()
                    }))
            let running = Task { try await directory.run() }
            while !clock.isOver { try await world.serveDirectoryStreams() }
            running.cancel()
            _ = await running.result
        }
        #expect(answers.revisions.withLockedValue { $0 } == [0, 0])
        #expect(try await world.loop.submit { world.core.value.consensus?.revision }.get() == max(served, 5))
        // None of the answers was an error, after which one tries again at once.
        let times = askedAt.withLockedValue { $0 }
        #expect(times.count == 3 && zip(times, times.dropFirst()).allSatisfy { $1 - $0 >= .seconds(20) }, "\(times)")
        // Without news one waits twice as long each time.
        #expect(served > 5 || times[2] - times[1] >= .seconds(40), "\(times)")
        try await world.end()
    }

    @Test("a directory whose network is too small is told, and waits until it has grown")
    func revisionInSmallNetwork() async throws {
        let world = try World(routerCount: 2, directFallbackAfter: .hours(1))
        let stored = try world.storeConsensus(now: Clock.unixSeconds, revision: 5)
        let answers = ScriptedDirectory.Answers(directoryKey: world.directoryKey, consensus: stored)
        try await ScriptedDirectory.run(answers) { port in
            let directory = try world.directory(Clock(sleepLimit: 1), port: port)
            await #expect(throws: CancellationError.self) { try await directory.run() }
        }
        #expect(answers.revisions.withLockedValue { $0 } == [5])
        try await world.end()
    }

    @Test("in a network that is too small for circuits the directory is asked directly, and often")
    func smallNetwork() async throws {
        let asked = try await self.refresh(
            ticketSeconds: nil, Clock(), World(routerCount: 2, directFallbackAfter: .hours(1)))
        #expect(asked == ClientDirectory.smallNetworkInterval)
    }

    @Test(
        "the directory is asked through a circuit, while there is one or there was one lately",
        arguments: [true, false])
    func throughCircuit(isOpen: Bool) async throws {
        let world = try World(directFallbackAfter: isOpen ? .zero : .hours(1))
        let consensus = try world.storeConsensus(now: Clock.unixSeconds)
        let (clock, ways) = (Clock(sleepLimit: 1000), NIOLockedValueBox<[String]>([]))
        let directory = world.directory(
            clock,
            through: {
                ways.withLockedValue { $0.append("through") }
                clock.end()
            }
        ) {
            ways.withLockedValue { $0.append("direct") }
            clock.end()
            throw DirectoryConnectionError.closed
        }
        if isOpen {
            // As the pool sees it.
            try await world.loop.submit { world.core.value.adopt(consensus) }.get()
            try await world.loop.submit {
                let core = world.core.value
                for key in core.pool.circuitKeys { core.pool.circuitOpened(key, now: world.loop.now) }
                #expect(core.pool.openCircuitCount > 0)
            }.get()
        }
        let running = Task { try await directory.run() }
        var promise: EventLoopPromise<OpenedStream>?
        // Until a stream is asked for; clocks that stand still have asked otherwise.
        while promise == nil, !clock.isOver {
            promise = try await world.loop.submit {
                let core = world.core.value
                guard let request = core.waiting.values.first ?? core.trying.values.first?.values.first,
                    case .stream(.directory, _, let promise) = request.goal
                else { return nil }
                return promise
            }.get()
        }
        promise?.succeed(
            OpenedStream(
                connected: Connected(address: .v4(1), ttlSeconds: 1),
                attach: { $0.eventLoop.makeSucceededVoidFuture() }, discard: {}))
        _ = await running.result
        #expect(ways.withLockedValue { $0 } == ["through"])
        try await world.end()
    }

    @Test("a first start, which shows no certificate, gets a ticket for what it drew and the list, and keeps the list")
    func firstStart() async throws {
        let world = try World()
        let consensus = try world.consensus(now: Clock.unixSeconds)
        let clock = Clock(sleepLimit: 0)
        let answers = ScriptedDirectory.Answers(directoryKey: world.directoryKey, consensus: consensus)
        try await ScriptedDirectory.run(answers) { port in
            let directory = try world.directory(clock, port: port)
            await #expect(throws: CancellationError.self) { try await directory.run() }
        }
        let known = try await world.loop.submit {
            (world.core.value.consensus?.digest, world.core.value.assignment.expires)
        }.get()
        #expect(known.0 == consensus.digest && known.1 == consensus.validUntil)
        let drawn = clock.outside.randomBytes()
        #expect(answers.commitments.withLockedValue { $0 } == [PathSeed.commitment(to: drawn)])
        #expect(answers.clientKeys.withLockedValue { $0 } == [nil])
        let stored = ConsensusStore(path: "\(world.configuration.stateDirectory)/consensus")
        #expect(stored.load(directoryKey: world.directoryKey.publicKey)?.digest == consensus.digest)
        try await world.end()
    }

    @Test("a ticket that has expired is refused, and so is its directory in the end")
    func expiredTicket() async throws {
        let world = try World()
        let answers = ScriptedDirectory.Answers(
            directoryKey: world.directoryKey, consensus: try world.consensus(now: Clock.unixSeconds),
            ticketExpires: Clock.unixSeconds)
        try await ScriptedDirectory.run(answers) { port in
            let directory = try world.directory(Clock(sleepLimit: 50), port: port)
            await #expect { try await directory.run() } throws: { error in
                (error as? OnionClientError)?.kind == .wrongDirectory
            }
        }
        #expect(answers.commitments.withLockedValue { $0.count } == ClientDirectory.misconfigurationLimit)
        #expect(try await world.loop.submit { world.core.value.assignment.expires }.get() == nil)
        try await world.end()
    }

    @Test("a client that could not begin is over")
    func notBegun() async throws {
        let world = try World()
        let answers = ScriptedDirectory.Answers(
            directoryKey: Ed25519PrivateKey(), consensus: try world.consensus(now: Clock.unixSeconds))
        try await ScriptedDirectory.run(answers) { port in
            var configuration = world.configuration
            configuration.directoryPort = port
            let client = try OnionClient(
                configuration: configuration, group: MultiThreadedEventLoopGroup.singleton,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            await #expect { try await client.run() } throws: { error in
                (error as? OnionClientError)?.kind == .wrongDirectory
            }
            let isShutDown = client.eventLoop.makePromise(of: Bool.self)
            client.withCore { isShutDown.succeed($0.isShutDown) }
            #expect(try await isShutDown.futureResult.get())
        }
        try await world.end()
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
    private func refresh(
        ticketSeconds: UInt64?, _ clock: Clock, _ world: @autoclosure () throws -> World = try World(),
        before: (World, Consensus) async throws -> Void = { _, _ in }
    ) async throws -> TimeAmount? {
        let world = try world()
        let consensus = try world.storeConsensus(now: Clock.unixSeconds)
        let asked = NIOLockedValueBox<TimeAmount?>(nil)
        try await before(world, consensus)
        let directory = world.directory(clock) {
            asked.withLockedValue { $0 = $0 ?? clock.passed }
            // A client that did not sleep now would ask for ever.
            if clock.isOver { withUnsafeCurrentTask { $0?.cancel() } }
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
    /// Every byte that is drawn.
    private let drawn: UInt8
    /// By how much the first sleep is too long.
    private let lateness: TimeAmount

    /// After so many sleeps it is over.
    private let sleepLimit: Int

    init(step: TimeAmount? = nil, lateness: TimeAmount = .zero, sleepLimit: Int = 100_000, drawn: UInt8 = 0xFF) {
        self.step = step
        self.drawn = drawn
        self.sleepLimit = sleepLimit
        self.lateness = lateness
    }

    var passed: TimeAmount { self.state.withLockedValue { $0.passed } }
    var sleeps: [TimeAmount] { self.state.withLockedValue { $0.sleeps } }

    var isOver: Bool { self.state.withLockedValue { $0.isOver } }

    /// Let nobody sleep any more.
    func end() { self.state.withLockedValue { $0.isOver = true } }

    private func sleep(_ time: TimeAmount) throws {
        try self.state.withLockedValue { state in
            if state.sleeps.count >= self.sleepLimit { state.isOver = true }
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
            randomBytes: { Bytes32([UInt8](repeating: self.drawn, count: 32)) ?? .zero })
    }
}

/// A client's core and state, without a network.
private final class World: Sendable {
    let loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let directoryKey = Ed25519PrivateKey()
    let core: NIOLoopBoundBox<ClientCore>
    let configuration: OnionClient.Configuration
    private let routerCount: Int

    init(routerCount: Int = 3, directFallbackAfter: TimeAmount = .zero) throws {
        self.routerCount = routerCount
        let state = FileManager.default.temporaryDirectory.appending(
            path: "thor-client-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: state, withIntermediateDirectories: true)
        var configuration = OnionClient.Configuration(
            directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: self.directoryKey.publicKey,
            stateDirectory: state.path)
        // No circuit will ever be complete, and none fails by a clock that is not the test's.
        configuration.limits.directFallbackAfter = directFallbackAfter
        configuration.limits.guardLinkTimeLimit = .hours(1)
        configuration.limits.slowBuildAfter = .hours(1)
        self.configuration = configuration
        self.core = NIOLoopBoundBox.makeBoxSendingValue(
            ClientCore(
                eventLoop: self.loop, configuration: configuration, board: ProgressBoard(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                unixTime: { Clock.unixSeconds }),
            eventLoop: self.loop)
    }

    /// Put a consensus on disk.
    func storeConsensus(now: UInt64, revision: UInt64 = 1) throws -> Consensus {
        let consensus = try self.consensus(now: now, revision: revision)
        try ConsensusStore(path: "\(self.configuration.stateDirectory)/consensus").save(consensus)
        return consensus
    }

    /// A consensus that is fresh for 3540 seconds.
    func consensus(now: UInt64, revision: UInt64 = 1) throws -> Consensus {
        let routers = try (0..<self.routerCount).map { index in
            let identity = Ed25519PrivateKey()
            let descriptor = RouterDescriptor(
                identity: identity.publicKey, linkKey: Ed25519PrivateKey().publicKey,
                onionKey: X25519PrivateKey().publicKey, onionKeyValidUntil: 4_000_000_000,
                published: now - 60,
                sequence: 1, addresses: [Endpoint(address: .v4(0x7f00_0001), port: 1)],
                nickname: "router\(index)",
                exitPolicy: try ExitPolicy(parsing: ["accept *:*"]))
            return ConsensusRouter(
                descriptor: try descriptor.signed(by: identity), flags: [.guard, .exit], weight: 1)
        }
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.circuitBuildTimeout, to: 600_000)
        return try Consensus.make(
            revision: revision, validAfter: now - 60, freshUntil: now + 3540, validUntil: now + 10_000,
            parameters: parameters, routers: routers, signedBy: self.directoryKey)
    }

    /// One that asks over TCP.
    func directory(_ clock: Clock, port: UInt16) throws -> ClientDirectory {
        var configuration = self.configuration
        configuration.directoryPort = port
        return self.directory(clock, try ClientDirectory.Ways(configuration, on: self.loop))
    }

    func directory(
        _ clock: Clock, through: @escaping @Sendable () -> Void = {},
        direct: @escaping @Sendable () async throws -> DirectoryConnection
    ) -> ClientDirectory {
        self.directory(
            clock,
            ClientDirectory.Ways(
                direct: direct,
                through: { stream in
                    through()
                    stream.discard()
                    throw CancellationError()
                }))
    }

    /// Open the streams to the directory that are asked for now, as if there were a circuit.
    func serveDirectoryStreams() async throws {
        try await self.loop.submit {
            let core = self.core.value
            for request in core.waiting.values {
                guard case .stream(.directory, _, let promise) = request.goal else { continue }
                promise.succeed(
                    OpenedStream(
                        connected: Connected(address: .v4(1), ttlSeconds: 1),
                        attach: { $0.eventLoop.makeSucceededVoidFuture() }, discard: {}))
                core.withdraw(request)
            }
        }.get()
    }

    func directory(_ clock: Clock, _ ways: ClientDirectory.Ways) -> ClientDirectory {
        ClientDirectory(
            core: self.core, eventLoop: self.loop, configuration: self.configuration,
            board: ProgressBoard(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, onAlarm: { _ in },
            ways: ways,
            outside: clock.outside)
    }

    func end() async throws {
        try await self.loop.submit { self.core.value.shutDown() }.get()
        try? FileManager.default.removeItem(atPath: self.configuration.stateDirectory)
    }
}
