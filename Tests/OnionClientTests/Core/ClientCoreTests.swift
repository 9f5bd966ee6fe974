import Logging
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams
import Testing

@testable import OnionClient

@Suite("Client over loopback links, against scripted routers", .timeLimit(.minutes(1)))
struct ClientCoreTests {
    @Test("builds circuits ahead, and says that it is ready")
    func ready() async throws {
        try await withClient { client in
            try await client.untilReady()
            let status = try await client.onLoop { core, _ in core.status() }
            #expect(status.progress.isReady)
            #expect(status.circuits.allSatisfy { Set($0.hops.map(\.fingerprint)).count == 3 })
            let guards = Set(status.circuits.compactMap(\.hops.first?.fingerprint))
            let inUse = try #require(status.guard).fingerprint
            #expect(guards == [inUse])
            for circuit in status.circuits where circuit.state == .open {
                #expect(try #require(circuit.roundTripSeconds) > 0)
            }
        }
    }

    @Test("knows that two routers are too few, says so, and goes on once there are more")
    func tooSmall() async throws {
        let world = try TestWorld()
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let board = ProgressBoard()
        let listed = try world.routers.prefix(3).enumerated().map { index, router in
            try router.listed(
                "router\(index)", port: 1, linkKey: world.linkKey.publicKey, policy: ["accept *:*"], country: "SE")
        }
        let now = TimeAndChance.system.unixSeconds
        let few = try makeConsensus(Array(listed.prefix(2)), now: now, key: world.directoryKey)
        let enough = try makeConsensus(listed, now: now, key: world.directoryKey)
        try await loop.submit {
            let core = ClientCore(
                eventLoop: loop,
                configuration: OnionClient.Configuration(
                    directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: world.directoryKey.publicKey,
                    stateDirectory: world.stateDirectory),
                board: board, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            core.adopt(few)
            #expect(core.isNetworkTooSmall)
            #expect(board.current.text.contains("waiting for more"), "\(board.current)")
            core.adopt(enough)
            #expect(!core.isNetworkTooSmall)
            #expect(board.current.percent == 50)
            core.shutDown()
        }.get()
    }

    @Test("a stream is connected, echoes what it is sent, and ends by halves")
    func echo() async throws {
        try await withClient { client in
            let stream = try await client.open("echo").get()
            let channel = try await DirectoryStreamChannel.make(of: stream, on: client.loop)
            let echoed = client.loop.makePromise(of: ByteBuffer.self)
            try await client.loop.submit {
                try channel.pipeline.syncOperations.addHandler(Collector(promise: echoed))
            }.get()
            let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            try await channel.writeAndFlush(ByteBuffer(bytes: bytes))
            try await channel.close(mode: .output)
            #expect(try await echoed.futureResult.get() == ByteBuffer(bytes: bytes))
            // No circuit is kept in the account of what waits when nothing does.
            var holders = 1
            for _ in 0..<100 where holders > 0 {
                try await Task.sleep(for: .milliseconds(50))
                holders = try await client.onLoop { core, _ in core.queues.all.count }
            }
            #expect(holders == 0)
        }
    }

    @Test("the reason of a destination that refuses three exits is the failure")
    func refused() async throws {
        try await withClient { client in
            await #expect(throws: StreamFailure.ended(.connectionRefused)) { try await client.open("refused").get() }
            try await client.expectBegins("refused", 3)
        }
    }

    @Test("a destination that refuses one exit is reached by another, and that exit is left out for it afterwards")
    func refusedByOne() async throws {
        try await withClient { client in
            for _ in 0..<3 { client.discard(try await client.open("refused-once").get()) }
            try await client.expectBegins("refused-once", 4)
        }
    }

    @Test("a destination that refuses every exit is refused again and again, soon; a new identity forgets")
    func refusedByAll() async throws {
        try await withClient { client in
            for _ in 0..<4 {
                await #expect(throws: StreamFailure.ended(.connectionRefused)) {
                    try await client.open("refused").get()
                }
            }
            try await client.onLoop { core, network in
                #expect(network.begins["refused"] ?? 0 <= 12)
                core.newIdentity()
            }
            client.discard(try await client.open("echo").get())
        }
    }

    @Test("a stream that one exit forbids goes by another")
    func anotherExit() async throws {
        try await withClient { client in
            client.discard(try await client.open("refused-by-first").get())
            try await client.expectBegins("refused-by-first", 2)
        }
    }

    @Test("a stream whose circuit dies before Connected moves to another")
    func circuitDies() async throws {
        try await withClient { client in
            client.discard(try await client.open("dies-once").get())
            try await client.expectBegins("dies-once", 2)
        }
    }

    @Test("it is tried three times more and then fails; with data sent ahead not even once more")
    func circuitAlwaysDies() async throws {
        try await withClient { client in
            await #expect(throws: StreamFailure.noCircuit) { try await client.open("dies").get() }
            try await client.expectBegins("dies", 4)
            await #expect(throws: StreamFailure.noCircuit) { try await client.open("dies", earlyData: "GET").get() }
            try await client.expectBegins("dies", 5)
        }
    }

    @Test("streams with different users are on different circuits, those with the same on one")
    func isolation() async throws {
        try await withClient { client in
            for user in ["a", "b", "a", "c", "b"] { _ = try await client.open("echo", user: user).get() }
            let counts = try await client.onLoop { core, _ in
                core.status().circuits.map(\.streamCount).filter { $0 > 0 }.sorted()
            }
            #expect(counts == [1, 2, 2])
            #expect(try await client.onLoop { core, _ in core.trying.isEmpty })
        }
    }

    @Test("names are looked up at the exit")
    func resolve() async throws {
        try await withClient { client in
            let resolved = try await client.resolve("name.test").get()
            #expect(resolved == .answers([.init(.address(.v4(0x0102_0304)), ttlSeconds: 60)]))
        }
    }

    @Test("learns how long building takes, and gives up sooner than the network would")
    func buildTimes() async throws {
        try await withClient { client in
            try await client.untilReady()
            let before = try #require(try await client.onLoop { core, _ in core.status() }.buildLimitSeconds)
            for user in 0..<BuildTimes.enough {
                client.discard(try await client.open("echo", user: "\(user)").get())
            }
            let status = try await client.onLoop { core, _ in core.status() }
            let usual = try #require(status.usualBuildSeconds)
            #expect(usual > 0 && before == 10)
            let limit = try #require(status.buildLimitSeconds)
            // Both are nanoseconds divided into seconds, so their last digits differ.
            #expect(abs(limit - max(1.5, usual * 6)) < 1e-6)
        }
    }

    @Test("a lost guard link is dialled again, and requests go on")
    func linkLost() async throws {
        try await withClient { client in
            try await client.untilReady()
            try await client.onLoop { _, network in network.closeLinks() }
            client.discard(try await client.open("echo").get())
        }
    }

    @Test(
        "a guard that refuses circuits, drops its links or talks nonsense is left for another",
        arguments: ScriptedNetwork.Habit.allCases)
    func spoiltGuard(habit: ScriptedNetwork.Habit) async throws {
        try await withClient { client in
            try await client.untilReady()
            let spoilt = try await client.onLoop { core, network in
                let identity = try #require(core.guardInUse).identity
                network.spoilt = (identity, habit)
                core.newIdentity()
                return identity
            }
            client.discard(try await client.open("echo").get())
            #expect(try await client.onLoop { core, _ in core.guardInUse?.identity } != spoilt)
        }
    }

    @Test("a limit that is reached at a guard is no fault of it while circuits stand")
    func limitOfGuard() async throws {
        try await withClient { client in
            try await client.untilReady()
            try await client.onLoop { core, _ in
                let standing = try #require(core.circuits.values.first { $0.isReady })
                let refused = ClientCircuit(
                    key: CircuitPool.CircuitKey(rawValue: .max), path: standing.path, settings: core.settings,
                    padding: PaddingSourceBox(), eventLoop: core.eventLoop, owner: core)
                for _ in 0...ClientCore.guardStrikeLimit {
                    core.circuit(refused, ended: .destroyed(hop: 0, .resourceLimit))
                }
                #expect(core.guardInUse?.identity == standing.guardRouter.identity)
                refused.close()
            }
        }
    }

    @Test("a request that is taken back while an exit has it ends its stream; later it has no effect")
    func withdrawn() async throws {
        try await withClient { client in
            let (loop, promise) = (client.loop, client.loop.makePromise(of: OpenedStream.self))
            let (gone, late) = (loop.makePromise(of: Void.self), loop.makePromise(of: Void.self))
            let add = { @Sendable (host: String, opened: EventLoopPromise<OpenedStream>, gone: EventLoopFuture<Void>) in
                try await client.onLoop { core, _ in
                    core.addNew(
                        PendingRequest(
                            .stream(.host(host, port: 443), earlyData: ByteBuffer(), opened), wish: .port(443),
                            isolation: IsolationKey(protocolName: "test"), deadline: .now() + .seconds(20),
                            limits: core.limits, owner: core), until: gone)
                }
            }
            try await add("silent-once", promise, gone.futureResult)
            while try await client.onLoop({ core, _ in core.trying.isEmpty }) {}
            gone.succeed()
            await #expect(throws: StreamFailure.ended(.finished)) { try await promise.futureResult.get() }
            try await client.onLoop { core, _ in
                #expect(core.trying.isEmpty && core.pool.circuitKeys.allSatisfy { core.pool.streamCount(of: $0) == 0 })
            }
            let opened = loop.makePromise(of: OpenedStream.self)
            try await add("echo", opened, late.futureResult)
            let stream = try await opened.futureResult.get()
            late.succeed()
            try await client.onLoop { core, _ in
                #expect(core.pool.circuitKeys.contains { core.pool.streamCount(of: $0) == 1 })
            }
            client.discard(stream)
        }
    }

    @Test("an Extended that is not alone in its cell ends the circuit", arguments: [true, false])
    func extendedNotAlone(before: Bool) async throws {
        try await withClient { client in
            try await client.untilReady()
            // The circuits that there are go, and others are built.
            let old = try await client.onLoop { core, network in
                network.withExtended = before ? ([.drop], []) : ([], [.drop])
                core.newIdentity()
                return (complete: network.completeCount, destroyed: network.destroyedCount, open: network.circuitCount)
            }
            var (completeCount, destroyedCount) = (0, 0)
            for _ in 0..<500 where completeCount == 0 && destroyedCount <= old.open {
                try await Task.sleep(for: .milliseconds(10))
                (completeCount, destroyedCount) = try await client.onLoop { _, network in
                    (network.completeCount - old.complete, network.destroyedCount - old.destroyed)
                }
            }
            #expect(completeCount == 0 && destroyedCount > old.open)
        }
    }

    @Test("a guard that says something from the inside of a circuit loses it")
    func dropInside() async throws {
        try await withClient { client in
            await #expect(throws: StreamFailure.noCircuit) { try await client.open("drop-inside").get() }
            try await client.expectBegins("drop-inside", 4)
        }
    }

    @Test("whoever destroys a circuit is not told that it is destroyed")
    func noGoodbye() async throws {
        try await withClient { client in
            try await client.untilReady()
            await #expect(throws: StreamFailure.noCircuit) { try await client.open("dies").get() }
            // On the same link, so what was said before has come.
            client.discard(try await client.open("echo").get())
            #expect(try await client.onLoop { _, network in network.destroyedCount } == 0)
        }
    }

    @Test(
        "an exit that could not reach a destination is left out for that user's next stream there, until a new identity"
    )
    func avoided() async throws {
        try await withClient { client in
            client.discard(try await client.open("refused-once").get())
            let avoidedCount = { (user: String) in
                let promise = client.loop.makePromise(of: OpenedStream.self)
                let count = try await client.onLoop { core, _ in
                    let request = PendingRequest(
                        .stream(.host("refused-once", port: 443), earlyData: ByteBuffer(), promise), wish: .port(443),
                        isolation: IsolationKey(protocolName: "test", username: Array(user.utf8)),
                        deadline: .now() + .seconds(20), limits: core.limits, owner: core)
                    core.addNew(request)
                    return request.avoided.count
                }
                client.discard(try await promise.futureResult.get())
                return count
            }
            #expect(try await avoidedCount("") == 1)
            #expect(try await avoidedCount("another") == 0)
            try await client.onLoop { core, _ in core.newIdentity() }
            #expect(try await avoidedCount("") == 0)
        }
    }

    @Test("an exit that does not answer in its time is replaced")
    func attemptTimeLimit() async throws {
        var limits = OnionClient.Limits()
        limits.attemptTimeLimit = .milliseconds(500)
        try await withClient(limits: limits) { client in
            client.discard(try await client.open("silent-once").get())
            #expect(try await client.onLoop { _, network in network.begins["silent-once"] ?? 0 } >= 2)
        }
    }

    @Test("a request ends with its patience, though its exit had more time")
    func patience() async throws {
        try await withClient { client in
            try await client.untilReady()
            let start = NIODeadline.now()
            await #expect(throws: StreamFailure.ended(.timedOut)) {
                try await client.open("silent-once", patience: .milliseconds(50)).get()
            }
            #expect(.now() - start < .seconds(10))
        }
    }

    @Test("a stream's end makes room at once for whoever waits, and for its circuit to close")
    func roomAtOnce() async throws {
        try await withClient { client in
            try await client.untilReady()
            let first = try await client.open("echo").get()
            // Nothing else can serve the second.
            try await client.onLoop { core, network in
                network.ignoresCreates = true
                core.pool.rules.streamsPerCircuit = 1
                core.pool.rules.limits.cleanCircuitCount = 0
                core.pool.rules.limits.concurrentBuildCount = 0
                for key in core.pool.circuitKeys where core.pool.streamCount(of: key) == 0 { core.pool.retire(key) }
                core.setNeedsTurn()
            }
            let second = client.open("echo")
            #expect(try await client.onLoop { core, _ in core.waiting.count } == 1)
            client.discard(first)
            for _ in 0..<20 { try await client.loop.submit {}.get() }
            #expect(try await client.onLoop { core, _ in core.waiting.isEmpty })
            let stream = try await second.get()
            try await client.onLoop { core, _ in core.newIdentity() }
            #expect(try await client.onLoop { core, _ in core.pool.circuitKeys.count } == 1)
            client.discard(stream)
            for _ in 0..<20 { try await client.loop.submit {}.get() }
            #expect(try await client.onLoop { core, _ in core.pool.circuitKeys.isEmpty })
        }
    }

    @Test("a request whose circuit takes no stream waits for another")
    func circuitTakesNone() async throws {
        try await withClient { client in
            try await client.untilReady()
            // Circuits that the pool takes for complete, and that are not.
            try await client.onLoop { core, network in
                network.ignoresCreates = true
                core.newIdentity()
            }
            let stream = client.open("echo")
            try await client.onLoop { core, _ in
                for key in core.pool.circuitKeys where core.pool.phase(of: key) == .building {
                    core.pool.circuitOpened(key, now: core.eventLoop.now)
                }
                core.setNeedsTurn()
            }
            try await client.onLoop { core, network in
                #expect(core.trying.isEmpty && core.waiting.count == 1)
                network.ignoresCreates = false
            }
            client.discard(try await stream.get())
        }
    }

    @Test("with all circuits in use another user's request fails at once, and is served when one is free again")
    func tooManyCircuits() async throws {
        var limits = OnionClient.Limits()
        limits.circuitCount = 2
        try await withClient(limits: limits) { client in
            let streams = [
                try await client.open("echo", user: "a").get(), try await client.open("echo", user: "b").get(),
            ]
            await #expect(throws: StreamFailure.tooManyCircuits) { try await client.open("echo", user: "c").get() }
            // Who has a circuit goes on as before.
            client.discard(try await client.open("echo", user: "a").get())
            client.discard(streams[1])
            client.discard(try await client.open("echo", user: "c").get())
            client.discard(streams[0])
        }
    }

    @Test("a port that no exit allows fails at once")
    func noExit() async throws {
        try await withClient { client in
            await #expect(throws: StreamFailure.noExitAllows(port: 25)) {
                try await client.open("echo", port: 25).get()
            }
        }
    }

    @Test("the guard sample is on disk, and a second start begins at the same guard")
    func guardKept() async throws {
        let world = try TestWorld()
        var first: String?
        for _ in 0..<2 {
            let fingerprint = try await withClient(world) { client in
                try await client.untilReady()
                return try await client.onLoop { core, _ in core.guardInUse?.identity.base64URL }
            }
            if let first { #expect(fingerprint == first) }
            first = fingerprint
        }
        #expect(first != nil)
    }

    /// Countries of the exits of circuits that carry streams.
    private func exits(_ client: TestClient) async throws -> [String] {
        try await client.onLoop { core, _ in core.status() }.circuits
            .filter { $0.streamCount > 0 }.compactMap { $0.hops.last?.country }
    }

    @Test("a stream leaves by the country that it wishes for, or by another than that", arguments: [false, true])
    func country(negative: Bool) async throws {
        try await withClient { client in
            for country in ["DE", "FR", "SE", "US", "JP"] {
                let wish = ExitWish(countries: negative ? .not([country]) : .only([country]))
                let stream = try await client.open("echo", user: country, exit: wish).get()
                let exits = try await self.exits(client)
                #expect(exits.count == 1)
                #expect(exits.allSatisfy { ($0 == country) != negative })
                client.discard(stream)
                try await client.onLoop { core, _ in core.newIdentity() }
            }
        }
    }

    @Test("a wish that no exit meets fails at once, even while circuits cannot be built")
    func noSuchCountry() async throws {
        try await withClient { client in
            try await client.untilReady()
            try await client.onLoop { _, network in network.ignoresCreates = true }
            let wish = ExitWish(countries: .only(["XX"]))
            await #expect(throws: StreamFailure.noExitMeets(wish)) {
                try await client.open("echo", exit: wish).get()
            }
            let unknown = ExitWish(router: someKey())
            await #expect(throws: StreamFailure.noExitMeets(unknown)) {
                try await client.open("echo", exit: unknown).get()
            }
            try await client.expectBegins("echo", 0)
        }
    }

    @Test("a stream can name the router that it leaves by")
    func pinnedExit() async throws {
        try await withClient { client in
            try await client.untilReady()
            let status = try await client.onLoop { core, _ in core.status() }
            for hop in status.exits {
                let wish = try #require(ExitWish(fingerprint: hop.fingerprint))
                let stream = try await client.open("echo", user: hop.fingerprint, exit: wish).get()
                #expect(try await self.exits(client) == [hop.country])
                client.discard(stream)
                try await client.onLoop { core, _ in core.newIdentity() }
            }
        }
    }
}
