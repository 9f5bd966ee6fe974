import Foundation
import NIOCore
import NIOPosix
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams
import Testing

@testable import OnionClient

@Suite("What a client makes of its guards' and circuits' troubles", .timeLimit(.minutes(1)))
struct ClientCoreDecisionTests {
    private func routers(_ count: Int) throws -> [ConsensusRouter] {
        try (0..<count).map { try TestRouter().listed("router\($0)", port: 1) }
    }

    @Test("with no guard of the sample in reach no other is begun at; requests wait, and the network is suspected")
    func noGuard() async throws {
        // Many at once, so that the last guard fails in the middle of a turn.
        let begin = { @Sendable (core: ClientCore) in
            for user in 0..<8 {
                let promise = core.eventLoop.makePromise(of: OpenedStream.self)
                core.add(self.request(promise, .port(443), user: "\(user)", core))
            }
        }
        try await withCoreAlone(self.routers(6), ["guard-sample-size=2"], dialFails: true, begin: begin) { alone in
            let consensus = alone.consensus
            let dialled = try await alone.dialledKeys()
            #expect(dialled.count == 2)
            try await alone.onLoop { core in
                #expect(core.waiting.count == 8)
                #expect(core.usableGuards.isEmpty)
                #expect(core.board.current.text.contains("no guard can be reached"))
                #expect(core.pool.failureCount >= 8)
                #expect(core.failedCount == 2)
                // The network is back: nothing is waited for.
                let router = try #require(consensus.routers.first { dialled.contains($0.linkKey) })
                let link = GuardLink(
                    router: router, eventLoop: core.eventLoop,
                    dial: { _, _, _ in core.eventLoop.makeFailedFuture(ChannelError.eof) }, owner: core)
                core.guardLinkOpened(link)
                #expect(core.pool.failureCount == 0)
                #expect(core.usableGuards.count == 2)
            }
        }
    }

    @Test("while no guard can be reached nothing is tried that must fail")
    func nothingTried() async throws {
        try await withCoreAlone(self.routers(3), dialFails: true) { alone in
            var isOver = false
            while !isOver { isOver = try await alone.onLoop { $0.usableGuards.isEmpty } }
            try await alone.onLoop { core in
                core.pool.pauseOver()
                core.setNeedsTurn()
            }
            try await alone.onLoop { core in
                #expect(core.pool.failureCount == 0)
                // What no router meets is told at once all the same.
                let promise = core.eventLoop.makePromise(of: OpenedStream.self)
                core.add(self.request(promise, .port(443, exit: ExitWish(countries: .only(["XX"]))), user: "", core))
                #expect(core.waiting.isEmpty)
            }
        }
    }

    @Test("nothing is built from a consensus whose time is over")
    func expired() async throws {
        for (age, isValid) in [(60, true), (20_000, false)] as [(UInt64, Bool)] {
            try await withCoreAlone(self.routers(3), age: age) { alone in
                let dialCount = try await alone.dialCount()
                #expect(dialCount == (isValid ? 1 : 0))
            }
        }
    }

    @Test("that the list has expired is told as that, in the status of a client that was ready, and to who waits long")
    func expiredIsTold() async throws {
        for patience in [TimeAmount.hours(1), .milliseconds(1)] {
            let isOver = patience < .hours(1)
            try await withCoreAlone(self.routers(3), age: 20_000, change: { $0.newListPatience = patience }) { alone in
                let (obstacle, answer) = try await alone.onLoop { core in
                    let obstacle = try #require(core.obstacle)
                    #expect(obstacle.contains("expired") && core.board.current.text.contains(obstacle))
                    core.board.report(.ready)
                    let progress = core.status().progress
                    #expect(!progress.isReady && progress.text.contains(obstacle))
                    let promise = core.eventLoop.makePromise(of: OpenedStream.self)
                    let request = self.request(promise, .port(443), user: "", core)
                    // Patience that ends says the same.
                    if !isOver { request.hurry(until: core.eventLoop.now) }
                    core.add(request)
                    #expect(core.waiting.count == 1)
                    return (obstacle, promise.futureResult)
                }
                await #expect(throws: StreamFailure.notReady(obstacle)) { try await answer.get() }
            }
        }
    }

    @Test("a list that has expired is trouble; a valid one with circuits open is none, and only then time goes on")
    func expiryIsTrouble() async throws {
        for (age, isExpired) in [(60, false), (20_000, true)] as [(UInt64, Bool)] {
            let begin = { @Sendable (core: ClientCore) in
                guard
                    let key = core.pool.requestAdded(
                        .port(443), isolation: IsolationKey(protocolName: "test"),
                        deadline: core.eventLoop.now + .minutes(1), now: core.eventLoop.now)
                else { return }
                core.pool.requestWithdrawn(key)
                for case .build(let key, _, _) in core.pool.advance(now: core.eventLoop.now, mayBuild: true) {
                    core.pool.circuitOpened(key, now: core.eventLoop.now)
                }
            }
            try await withCoreAlone(self.routers(3), age: age, begin: begin) { alone in
                let before = try await alone.onLoop { core in
                    #expect(core.takeTrouble() == isExpired && core.pool.openCircuitCount > 0)
                    core.setNeedsTurn()
                    return core.lastReadyAt
                }
                try await alone.onLoop { core in
                    #expect((core.lastReadyAt > before) != isExpired)
                    #expect(!core.takeTrouble())
                }
            }
        }
    }

    @Test("a request whose program has gone waits no more, and has no circuit begun")
    func withdrawn() async throws {
        try await withCoreAlone(self.routers(5), change: { $0.cleanCircuitCount = 0 }) { alone in
            let opened = alone.loop.makePromise(of: OpenedStream.self)
            try await alone.onLoop { core in
                let gone = core.eventLoop.makePromise(of: Void.self)
                core.addNew(self.request(opened, .port(443), user: "", core), until: gone.futureResult)
                #expect(core.waiting.count == 1)
                gone.fail(ChannelError.eof)
                #expect(core.waiting.isEmpty && core.pool.waitingRequestCount == 0)
            }
            await #expect(throws: StreamFailure.ended(.finished)) { try await opened.futureResult.get() }
            #expect(try await alone.onLoop { $0.circuits.isEmpty })
        }
    }

    @Test("who waits too long is told that no guard can be reached, if that is why")
    func noGuardIsTold() async throws {
        try await withCoreAlone(self.routers(3), dialFails: true) { alone in
            while try await alone.onLoop({ !$0.usableGuards.isEmpty }) {}
            let opened = alone.loop.makePromise(of: OpenedStream.self)
            let obstacle = try await alone.onLoop { core in
                let request = self.request(opened, .port(443), user: "", core)
                request.hurry(until: core.eventLoop.now)
                core.add(request)
                return try #require(core.obstacle)
            }
            await #expect(throws: StreamFailure.notReady(obstacle)) { try await opened.futureResult.get() }
        }
    }

    @Test("a newer list ends that")
    func newerList() async throws {
        let routers = try self.routers(3)
        try await withCoreAlone(routers, age: 20_000) { alone in
            let newer = try makeConsensus(routers, now: TimeAndChance.system.unixSeconds)
            try await alone.onLoop { core in
                core.adopt(newer)
                #expect(core.obstacle == nil)
            }
            #expect(try await alone.dialCount() == 1)
        }
    }

    @Test("a port that a program asks for is not told to all as what the start waits on; those built ahead are")
    func wishIsNotTold() async throws {
        for (forbidden, isTold) in [(["reject *:6667"], false), (["reject *:80", "reject *:443"], true)] {
            let routers = try (0..<3).map {
                try TestRouter().listed("router\($0)", port: 1, policy: forbidden + ["accept *:*"])
            }
            let promise = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: OpenedStream.self)
            let begin = { @Sendable (core: ClientCore) in
                core.add(self.request(promise, .port(isTold ? 443 : 6667), user: "", core))
            }
            try await withCoreAlone(routers, begin: begin) { alone in
                await #expect(throws: StreamFailure.noExitAllows(port: isTold ? 443 : 6667)) {
                    try await promise.futureResult.get()
                }
                let text = try await alone.onLoop { $0.board.current.text }
                #expect(text.contains("exit policy") == isTold)
            }
        }
    }

    @Test("the network can lower how many circuits there are, with room for others beside them, and not raise it")
    func circuitCeiling() async throws {
        for (value, count) in [(1, 1), (116, 100), (100_000, OnionClient.Limits().circuitCount)] {
            try await withCoreAlone(self.routers(3), ["circuits-per-client-link=\(value)"]) { alone in
                let ceiling = try await alone.onLoop { $0.pool.rules.limits.circuitCount }
                #expect(ceiling == count)
            }
        }
        let limits = OnionClient.Limits()
        #expect(limits.circuitCount + limits.directoryCircuitCount + ClientCore.tracedCircuitRoom == 256)
    }

    @Test("exits that have refused do not move where circuits begin, though they be the guard in use or all others")
    func guardStays() async throws {
        for refusesGuard in [true, false] {
            try await withCoreAlone(self.routers(5), ["guard-sample-size=3"]) { alone in
                let all = Set(alone.consensus.routers.map(\.identity))
                let entry = try await alone.onLoop { core in
                    let entry = try #require(core.guardInUse).identity
                    let promise = core.eventLoop.makePromise(of: OpenedStream.self)
                    let request = self.request(promise, .port(443), user: "a", core)
                    request.avoided = refusesGuard ? [entry] : all.subtracting([entry])
                    core.add(request)
                    return entry
                }
                for _ in 0..<3 { try await alone.onLoop { _ in } }
                let entries = try await alone.onLoop { Set($0.circuits.values.map { $0.path[0].identity }) }
                let waitingCount = try await alone.onLoop { $0.waiting.count }
                #expect(entries == [entry] && waitingCount == 1)
            }
        }
    }

    @Test("too few routers are told as that, at once, and in the status of a client that was ready")
    func tooFew() async throws {
        try await withCoreAlone(self.routers(2)) { alone in
            try await alone.onLoop { core in
                let promise = core.eventLoop.makePromise(of: OpenedStream.self)
                core.add(self.request(promise, .port(443), user: "", core))
                core.board.report(.ready)
            }
            try await alone.onLoop { core in
                let obstacle = try #require(core.obstacle)
                #expect(core.impossible(.port(443), .tooFewUnrelatedRouters) == .notReady(obstacle))
                #expect(core.waiting.isEmpty)
                let progress = core.status().progress
                #expect(!progress.isReady && progress.text.contains(obstacle))
            }
        }
        try await withCoreAlone(self.routers(3)) { alone in
            try await alone.onLoop { core in
                core.board.report(.ready)
                #expect(core.obstacle == nil && core.status().progress.isReady)
            }
        }
    }

    @Test("circuits that begin at one guard share a link")
    func oneLink() async throws {
        let begin = { @Sendable (core: ClientCore) in
            for user in 0..<4 {
                let promise = core.eventLoop.makePromise(of: OpenedStream.self)
                core.add(self.request(promise, .port(443), user: "\(user)", core))
            }
        }
        try await withCoreAlone(self.routers(5), begin: begin) { alone in
            let (circuitCount, dialCount) = (try await alone.onLoop { $0.circuits.count }, try await alone.dialCount())
            #expect(circuitCount >= 4 && dialCount == 1)
        }
    }

    @Test("the sample is written when it changes, and only then")
    func sampleFile() async throws {
        try await withCoreAlone(self.routers(5), ["guard-sample-size=3"]) { alone in
            let consensus = alone.consensus
            let path = try await alone.onLoop { core in
                GuardSampleFile(
                    stateDirectory: alone.stateDirectory, directoryKey: core.configuration.directoryKey
                ).path
            }
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let guards = try await alone.onLoop { $0.usableGuards.map(\.base64URL) }
            #expect(guards.count == 3 && guards.allSatisfy(text.contains))
            try FileManager.default.removeItem(atPath: path)
            try await alone.onLoop { $0.adopt(consensus) }
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }

    @Test("two clients with one list have secrets of their own, and draw other guards")
    func ownSecrets() async throws {
        try await withCoreAlone(self.routers(30), ["guard-sample-size=20"]) { alone in
            let consensus = alone.consensus
            try await alone.onLoop { core in
                // As the proxy makes them; the one of the tests has other secrets.
                let cores = (0..<2).map { _ in
                    ClientCore(
                        eventLoop: core.eventLoop, configuration: core.configuration, board: ProgressBoard(),
                        logger: core.logger)
                }
                for core in cores { core.adopt(consensus) }
                #expect(cores[0].assignment.secret != cores[1].assignment.secret)
                #expect(cores[0].sample.identities != cores[1].sample.identities)
                for core in cores { core.shutDown() }
            }
        }
    }

    @Test("what was to be done in a turn is not done after the end")
    func turnAfterEnd() async throws {
        try await withCoreAlone(self.routers(5), begin: { $0.shutDown() }) { alone in
            let (circuitCount, dialCount) = (try await alone.onLoop { $0.circuits.count }, try await alone.dialCount())
            #expect(circuitCount == 0 && dialCount == 0)
        }
    }

    @Test("a request can be told to hurry, and not to take its time")
    func hurry() async throws {
        try await withCoreAlone(self.routers(5)) { alone in
            try await alone.onLoop { core in
                let promise = core.eventLoop.makePromise(of: OpenedStream.self)
                let request = self.request(promise, .port(443), user: "", core)
                let deadline = request.deadline
                request.hurry(until: deadline + .seconds(1))
                #expect(request.deadline == deadline)
                request.hurry(until: deadline - .seconds(1))
                #expect(request.deadline == deadline - .seconds(1))
                request.fail(.noCircuit)
            }
        }
    }

    @Test("a wish that routers meet and no path can fails as a wish does")
    func choosy() async throws {
        let only = TestRouter()
        let wish = ExitWish(router: only.identity.publicKey)
        // The one guard there is cannot be the exit as well.
        let routers =
            try [only.listed("guard", port: 1)]
            + (0..<2).map { try TestRouter().listed("exit\($0)", port: 1, flags: [.exit]) }
        try await withCoreAlone(routers) { alone in
            let promise = alone.loop.makePromise(of: OpenedStream.self)
            try await alone.onLoop { core in
                core.add(self.request(promise, .port(443, exit: wish), user: "", core))
            }
            await #expect(throws: StreamFailure.noExitMeets(wish)) { try await promise.futureResult.get() }
        }
    }

    @Test(
        "a guard that lets builds fail again and again counts as unreachable",
        arguments: [
            CircuitError.buildTimedOut(hop: 0), .handshakeFailed(hop: 0), .destroyed(hop: 0, .resourceLimit),
            .destroyed(hop: 0, .shuttingDown),
        ])
    func strikes(error: CircuitError) async throws {
        try await withCoreAlone(self.routers(5)) { alone in
            let consensus = alone.consensus
            try await alone.onLoop { core in
                let inUse = try #require(core.usableGuards.first)
                let circuit = try self.circuit(core, consensus)
                #expect(circuit.guardRouter.identity == inUse)
                for _ in 1..<ClientCore.guardStrikeLimit { core.circuit(circuit, ended: error) }
                #expect(core.usableGuards.first == inUse)
                core.circuit(circuit, ended: error)
                #expect(!core.usableGuards.contains(inUse))
                circuit.close()
            }
        }
    }

    @Test("a guard that takes links and answers no Create waits longer each time, until a circuit is ready through it")
    func muteGuard() async throws {
        try await withCoreAlone(self.routers(5)) { alone in
            let consensus = alone.consensus
            try await alone.onLoop { core in
                let loop = core.eventLoop
                let guardRouter = try #require(core.guardInUse)
                let circuit = try self.circuit(core, consensus)
                let link = GuardLink(
                    router: guardRouter, eventLoop: loop, dial: { _, _, _ in loop.makeFailedFuture(ChannelError.eof) },
                    owner: core)
                for (isReady, wait) in [(false, 1), (false, 2), (true, 1)] {
                    if isReady { core.circuitReady(circuit) }
                    let before = loop.now
                    for _ in 0..<ClientCore.guardStrikeLimit { core.circuit(circuit, ended: .buildTimedOut(hop: 0)) }
                    let after = loop.now
                    var sample = core.sample
                    let due = GuardSample.firstRetry * wait
                    #expect(sample.probesDue(isListed: { _ in true }, now: before + due - .nanoseconds(1)).isEmpty)
                    #expect(sample.probesDue(isListed: { _ in true }, now: after + due) == [guardRouter.identity])
                    core.guardLinkOpened(link)
                    #expect(core.usableGuards.first == guardRouter.identity)
                }
                circuit.close()
            }
        }
    }

    @Test("a failure behind the guard is not the guard's")
    func behindGuard() async throws {
        try await withCoreAlone(self.routers(5)) { alone in
            let consensus = alone.consensus
            try await alone.onLoop { core in
                let inUse = try #require(core.usableGuards.first)
                let circuit = try self.circuit(core, consensus)
                for _ in 0...ClientCore.guardStrikeLimit {
                    core.circuit(circuit, ended: .buildTimedOut(hop: 1))
                    core.circuit(circuit, ended: .handshakeFailed(hop: 2))
                    core.circuit(circuit, ended: .destroyed(hop: 1, .resourceLimit))
                    core.circuit(circuit, ended: .linkLost)
                }
                #expect(core.usableGuards.first == inUse)
                circuit.close()
            }
        }
    }

    @Test(
        "a hop that fails is trouble; the guard has its own rules, and behind the last hop there is none",
        arguments: [
            (.buildTimedOut(hop: 0), false), (.buildTimedOut(hop: 1), true), (.buildTimedOut(hop: 2), true),
            (.destroyed(hop: 0, .handshakeFailed), true), (.destroyed(hop: 0, .resourceLimit), false),
            (.truncated(by: 0, .unspecified), true), (.truncated(by: 1, .unspecified), true),
            (.truncated(by: 2, .unspecified), false),
        ] as [(CircuitError, Bool)])
    func trouble(error: CircuitError, isTrouble: Bool) async throws {
        try await withCoreAlone(self.routers(5)) { alone in
            let consensus = alone.consensus
            try await alone.onLoop { core in
                let circuit = try self.circuit(core, consensus)
                core.circuit(circuit, ended: error)
                #expect(core.takeTrouble() == isTrouble)
                circuit.close()
            }
        }
    }

    @Test("after its end it takes neither requests nor a consensus")
    func shutDown() async throws {
        try await withCoreAlone(self.routers(5)) { alone in
            let digest = alone.consensus.digest
            let other = try makeConsensus(self.routers(5), now: alone.consensus.validAfter)
            let promise = alone.loop.makePromise(of: OpenedStream.self)
            try await alone.onLoop { core in
                core.shutDown()
                core.adopt(other)
                #expect(core.consensus?.digest == digest)
                core.add(self.request(promise, .port(443), user: "", core))
                #expect(core.waiting.isEmpty)
                promise.fail(ChannelError.eof)
            }
            await #expect(throws: StreamFailure.shuttingDown) { try await promise.futureResult.get() }
        }
    }

    @Test("the network can lower what streams may hold, and not raise it")
    func ceiling() async throws {
        for (value, byteCount) in [(4 << 20, 4 << 20), (1 << 30, OnionClient.Limits().queuedByteCount)] {
            try await withCoreAlone(self.routers(3), ["process-queue-limit=\(value)"]) { alone in
                let ceiling = try await alone.onLoop { $0.queues.ceiling }
                #expect(ceiling == byteCount)
            }
        }
    }

    private func request(
        _ promise: EventLoopPromise<OpenedStream>, _ wish: CircuitWish, user: String, _ core: ClientCore
    ) -> PendingRequest {
        PendingRequest(
            .stream(.host("a.test", port: 443), earlyData: ByteBuffer(), promise), wish: wish,
            isolation: IsolationKey(protocolName: "test", username: Array(user.utf8)),
            deadline: core.eventLoop.now + .minutes(1), limits: core.limits, owner: core)
    }

    /// A circuit of three hops at the guard in use, which the core has not begun itself.
    private func circuit(_ core: ClientCore, _ consensus: Consensus) throws -> ClientCircuit {
        let guardRouter = try #require(core.guardInUse)
        let others = consensus.routers.filter { $0.identity != guardRouter.identity }
        return ClientCircuit(
            key: CircuitPool.CircuitKey(rawValue: .max), path: [guardRouter] + others.prefix(2),
            settings: core.settings, padding: PaddingSourceBox(), eventLoop: core.eventLoop, owner: core)
    }
}
