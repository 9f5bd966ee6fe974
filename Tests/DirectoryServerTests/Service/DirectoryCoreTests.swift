import GRDB
import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Directory core", .timeLimit(.minutes(1)))
struct DirectoryCoreTests {
    @Test("a connection that is said to be up twice counts once") func establishedTwice() async throws {
        let test = try TestCore(connections: { $0.halfOpenPerAddress = 1 })
        let connection = try #require(await test.connect())
        for _ in 0..<2 { #expect(await test.core.established(connection, peerKey: nil)) }
        #expect(await test.connect() != nil)
        #expect(test.reached.isEmpty)
        #expect(await test.connect() != nil)
        #expect(test.reached == [.halfOpenPerAddress])
    }

    @Test("who makes way is closed, and it is counted what for") func makesWay() async throws {
        let test = try TestCore(connections: { $0.halfOpenPerAddress = 1 })
        let closed = NIOLockedValueBox<[DirectoryMessage?]>([])
        let address = IPAddress.v4(0x0808_0404)
        #expect(await test.core.admit(address) { last in closed.withLockedValue { $0.append(last) } } != nil)
        #expect(closed.withLockedValue { $0.isEmpty })
        #expect(await test.connect() != nil)
        #expect(closed.withLockedValue { $0 } == [nil])
        #expect(test.reached == [.halfOpenPerAddress])
    }

    @Test("registrations without the right key take nothing from those of an address, nor newcomers from a known OR")
    func registrations() async throws {
        let test = try TestCore(connections: {
            $0.registrationsPerSecond = 0
            $0.registrationBurst = 2
            $0.knownRegistrationBurst = 2
        })
        await test.core.tick()
        let router = TestRouter()
        let stranger = try #require(await test.connect())
        for _ in 0..<5 {
            await #expect(throws: RegistrationRefusal.wrongLinkKey) {
                try await test.core.register(
                    try router.descriptor(), over: stranger, peerKey: Ed25519PrivateKey().publicKey)
            }
        }
        #expect(test.reached.isEmpty)
        let (first, probe) = try await test.register(router)
        await test.core.probeFinished(try #require(probe), .completed)
        test.clock.advance(200)
        await test.core.tick()
        _ = try await first.value
        let (newcomer, _) = try await test.register(TestRouter())
        func refused(_ router: TestRouter, sequence: UInt64) async throws {
            let connection = try #require(await test.connect())
            await #expect(throws: RegistrationRefusal.tooOften) {
                try await test.core.register(
                    try router.descriptor(sequence: sequence), over: connection, peerKey: router.linkKey.publicKey)
            }
        }
        try await refused(TestRouter(), sequence: 1)
        #expect(test.reached == [.registrationsPerAddress])
        var known = test.lanes.known.makeAsyncIterator()
        for sequence in 2...3 as ClosedRange<UInt64> {
            let connection = try #require(await test.connect())
            let core = test.core
            let descriptor = try router.descriptor(sequence: sequence)
            let again = Task {
                try await core.register(descriptor, over: connection, peerKey: router.linkKey.publicKey)
            }
            await test.core.probeFinished(try #require(await known.next()), .completed)
            test.clock.advance(200)
            await test.core.tick()
            _ = try await again.value
        }
        try await refused(router, sequence: 4)
        #expect(test.reached == [.registrationsPerAddress, .registrationsPerRouter])
        newcomer.cancel()
    }

    @Test("a request too many of one address is counted") func requests() async throws {
        let test = try TestCore(connections: {
            $0.addressRequestsPerSecond = 0
            $0.addressRequestBurst = 1
        })
        let connection = try #require(await test.connect())
        let request = DirectoryMessage.getConsensus(haveRevision: 0)
        #expect(await test.core.takesRequest(request, over: connection))
        #expect(test.reached.isEmpty)
        #expect(await !test.core.takesRequest(request, over: connection))
        #expect(test.reached == [.requestsPerAddress])
        #expect(await test.core.takesRequest(.register([]), over: connection))
    }

    @Test("a router for which there is no room is refused, and counted as what it is", arguments: [true, false])
    func noRoom(isFull: Bool) async throws {
        let test = try TestCore(registry: { if isFull { $0.routerCount = 0 } else { $0.newcomerCount = 0 } })
        let connection = try #require(await test.connect())
        let router = TestRouter()
        await #expect(throws: isFull ? RegistrationRefusal.registryFull : .tooManyNewcomers) {
            try await test.core.register(
                try router.descriptor(), over: connection, peerKey: router.linkKey.publicKey)
        }
        await #expect(throws: RegistrationRefusal.wrongLinkKey) {
            try await test.core.register(try router.descriptor(), over: connection, peerKey: nil)
        }
        #expect(test.reached == [isFull ? .registry : .newcomers])
    }

    @Test("the Hello is signed anew when half of its time is over, and when the clock has gone back") func hello()
        async throws
    {
        let test = try TestCore()
        let halfDay: UInt64 = 12 * 3600
        let start = TestRegistry.startSeconds
        #expect(try await test.core.currentHello().expires == start + 2 * halfDay)
        test.clock.advance(Int64(halfDay) * 1000 - 1000)
        #expect(try await test.core.currentHello().expires == start + 2 * halfDay)
        test.clock.advance(1000)
        #expect(try await test.core.currentHello().expires == start + 3 * halfDay)
        test.clock.turnBack(1000)
        #expect(try await test.core.currentHello().expires == start + 3 * halfDay - 1)
    }

    @Test("a connection waits for one consensus at a time, and for none once it is closed") func subscribers()
        async throws
    {
        let test = try TestCore()
        let connection = try #require(await test.connect())
        #expect(await test.core.subscribe(connection) != nil)
        #expect(await test.core.subscribe(connection) == nil)
        await test.core.unsubscribe(connection)
        #expect(await test.core.subscribe(connection) != nil)
        await test.core.closed(connection)
        #expect(await test.core.subscribe(connection) == nil)
    }

    @Test("looks once an hour for routers to be forgotten") func pruning() async throws {
        let stored = StoredRouter(
            descriptor: try TestRouter().descriptor(), firstSeen: 1, lastSeen: TestRegistry.startSeconds - 8200,
            isListed: false)
        let test = try TestCore(
            registry: {
                $0.forgetAfterSeconds = 10_000
                $0.resignSeconds = 1
            }, stored: [stored])
        for (passed, count) in [(0, 1), (3599, 1), (1, 0)] {
            test.clock.advance(Int64(passed) * 1000)
            await test.core.tick()
            #expect(try test.store.load().routers.count == count)
        }
    }

    @Test("a date that jumps a year ahead and back does not stop that") func pruningByAnotherDate() async throws {
        // Listed until the grace of the start is over.
        let stored = StoredRouter(
            descriptor: try TestRouter().descriptor(), firstSeen: 1, lastSeen: TestRegistry.startSeconds - 8200,
            isListed: true)
        let test = try TestCore(
            registry: {
                $0.forgetAfterSeconds = 10_000
                $0.resignSeconds = 1
            }, stored: [stored])
        let year: Int64 = 365 * 86_400_000
        test.clock.turnBack(-year)
        await test.core.tick()
        #expect(try test.store.load().routers.count == 1)
        test.clock.turnBack(year)
        for (passed, count) in [(3599, 1), (1, 0)] {
            test.clock.advance(Int64(passed) * 1000)
            await test.core.tick()
            #expect(try test.store.load().routers.count == count)
        }
    }

    @Test("a router is told of the first revision that lists it, and of none before") func listed() async throws {
        let test = try TestCore()
        await test.core.tick()
        let first = await test.core.newestRevision
        let (outcome, probe) = try await test.register(TestRouter())
        await test.core.probeFinished(try #require(probe), .completed)
        // The next consensus is not due yet.
        #expect(await test.core.newestRevision == first)
        test.clock.advance(200)
        await test.core.tick()
        let revision = try await outcome.value
        #expect(revision > first)
        #expect(await test.core.newestRevision == revision)
    }

    @Test("an OR that goes before it is told of that revision is waited for by nobody") func goneBeforeListed()
        async throws
    {
        let test = try TestCore()
        await test.core.tick()
        let (outcome, probe) = try await test.register(TestRouter())
        await test.core.probeFinished(try #require(probe), .completed)
        #expect(await test.core.acceptedCount == 1)
        await test.core.closed(ConnectionID(rawValue: 1))
        #expect(await test.core.acceptedCount == 0)
        await #expect(throws: RegistrationRefusal.superseded) { try await outcome.value }
    }

    @Test("the answers of those in the list have their part, from the first list on that they are in")
    func answersOfListed() async throws {
        let test = try TestCore()
        await test.core.tick()
        let router = TestRouter()
        let (outcome, probe) = try await test.register(router)
        await test.core.probeFinished(try #require(probe), .completed)
        test.clock.advance(200)
        await test.core.tick()
        _ = try await outcome.value
        let closed = NIOLockedValueBox<[String]>([])
        final class Connection {}
        let (stranger, listed, another) = (Connection(), Connection(), Connection())
        func take(_ byteCount: Int, for connection: Connection, _ name: String, _ key: Ed25519PublicKey?) -> Bool {
            test.answers.take(byteCount, for: ObjectIdentifier(connection), linkKey: key) {
                closed.withLockedValue { $0.append(name) }
            }
        }
        // Who is in the list keeps a quarter, however long it has held it.
        #expect(take(256, for: listed, "listed", router.linkKey.publicKey))
        #expect(take(768, for: stranger, "stranger", nil))
        #expect(take(1, for: another, "another", nil))
        #expect(closed.withLockedValue { $0 } == ["stranger"])
    }

    @Test("a consensus that cannot be stored is not published, and the log says so once") func storeFails() async throws
    {
        let test = try TestCore()
        try test.breakStore()
        for _ in 0..<3 {
            await test.core.tick()
            test.clock.advance(200)
        }
        #expect(await test.core.newestRevision == 0)
        #expect(test.logged == ["consensus not published; trying again"])
    }

    @Test("the log names who joins the list and who leaves it, and why") func listing() async throws {
        let test = try TestCore()
        await test.core.tick()
        let (registration, probe) = try await test.register(TestRouter())
        await test.core.probeFinished(try #require(probe), .completed)
        test.clock.advance(200)
        await test.core.tick()
        _ = try await registration.value
        #expect(test.reasons == ["router joined the list: registered"])
        test.clock.advance(200)
        await test.core.admissionChanged(to: .listed([:]))
        #expect(
            test.reasons == [
                "router joined the list: registered", "router left the list: not in the allow file any more",
            ])
    }

    @Test(
        "the log names each router refused once, so many for each reason, until the hour is over",
        arguments: [
            RegistrationRefusal.notAdmitted, .older, .clockOff, .unusableAddress, .registryFull, .tooManyNewcomers,
            .tooOften, .unreachable, .handshakeFailed, .superseded,
        ])
    func refusalsInLog(refusal: RegistrationRefusal) async throws {
        let test = try TestCore(connections: { $0.loggedRefusalCount = 2 })
        let strangers = (0..<3).map { _ in TestRouter().fingerprint }
        await test.core.tick()
        for wait in [0, 3_600_000 as Int64] {
            test.clock.advance(wait)
            await test.core.tick()
            for (stranger, isLogged) in zip(strangers, [true, true, false]) {
                #expect(await test.core.isLogged(refusal, of: stranger) == isLogged)
                #expect(await !test.core.isLogged(refusal, of: stranger))
            }
        }
        #expect(test.reached == Array(repeating: .loggedRefusals, count: 4))
        let other = refusal == .clockOff ? RegistrationRefusal.older : .clockOff
        #expect(await test.core.isLogged(other, of: strangers[2]))
        await test.core.admissionChanged(to: .listed([:]))
        #expect(await test.core.isLogged(refusal, of: strangers[0]))
        #expect(await !test.core.isLogged(.wrongLinkKey, of: strangers[0]))
    }

    @Test("stored routers that cannot be read are spoken of, and nothing else", arguments: [true, false])
    func damaged(isDamaged: Bool) throws {
        let test = try TestCore()
        let stored = StoredRouter(descriptor: try TestRouter().descriptor(), firstSeen: 1, lastSeen: 2, isListed: true)
        try test.store.save([stored], revision: 1)
        if isDamaged {
            try test.store.database.write { try $0.execute(sql: "UPDATE router SET descriptor = x'010203'") }
        }
        _ = try test.server.makeCore(admission: .open, store: test.store)
        #expect(test.logged == (isDamaged ? ["stored routers left out: unreadable"] : []))
    }

    @Test("a probe that was overtaken while it waited for its turn is not made") func overtaken() async throws {
        let probed = NIOLockedValueBox<[UInt64]>([])
        let test = try TestCore(
            connections: { $0.probesAtOnce = 1 },
            probing: Probing { descriptor in probed.withLockedValue { $0.append(descriptor.sequence) } })
        let (core, lanes) = try test.server.makeCore(admission: .open, store: test.store)
        let router = TestRouter()
        var outcomes: [Task<UInt64, any Error>] = []
        for sequence in 1...2 as ClosedRange<UInt64> {
            let connection = try #require(await core.admit(.v4(0x0808_0404)) { _ in })
            let descriptor = try router.descriptor(sequence: sequence)
            outcomes.append(
                Task { try await core.register(descriptor, over: connection, peerKey: router.linkKey.publicKey) })
            while await !core.wants(RouterProbe(number: sequence, descriptor: descriptor)) { await Task.yield() }
        }
        let work = Task { await test.server.work(core, lanes) }
        await #expect(throws: RegistrationRefusal.superseded) { try await outcomes[0].value }
        _ = try await outcomes[1].value
        work.cancel()
        await work.value
        #expect(probed.withLockedValue { $0 } == [2])
    }

    private struct Probing: RouterProbing {
        let body: @Sendable (RouterDescriptor) -> Void

        func probe(_ descriptor: RouterDescriptor) async -> ProbeOutcome {
            self.body(descriptor)
            return .completed
        }
    }
}
