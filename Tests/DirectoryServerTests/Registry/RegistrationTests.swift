import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Registry: registration")
struct RegistrationTests {
    @Test("lists a router once its probe is completed, and not before")
    func probeFirst() throws {
        var test = TestRegistry()
        let router = TestRouter()
        let (connection, probe) = try test.register(router)
        #expect(test.listed.isEmpty)
        #expect(test.finish(probe) == .accept(connection))
        #expect(test.listed == [router.fingerprint])
    }

    @Test(
        "refuses a router whose probe fails, and says how it failed",
        arguments: [
            (ProbeOutcome.unreachable, RegistrationRefusal.unreachable), (.handshakeFailed, .handshakeFailed),
        ])
    func failedProbe(outcome: ProbeOutcome, refusal: RegistrationRefusal) throws {
        var test = TestRegistry()
        let (connection, probe) = try test.register(TestRouter())
        #expect(test.finish(probe, outcome) == .refuse(connection, refusal))
        #expect(test.listed.isEmpty)
        #expect(test.beat(connection, 1) == .notRegistered)
    }

    @Test("refuses a connection that does not prove the link key") func linkKey() throws {
        var test = TestRegistry()
        let descriptor = try TestRouter().descriptor()
        for key in [nil, Ed25519PrivateKey().publicKey] {
            let decision = test.registry.registered(
                descriptor, over: test.nextConnection(), peerKey: key, unixSeconds: test.unixSeconds)
            #expect(decision == .refuse(.wrongLinkKey))
        }
    }

    @Test("a connection that registers another router no longer waits for the first one's probe")
    func otherRouter() throws {
        var test = TestRegistry()
        let (first, second) = (TestRouter(), TestRouter())
        let (connection, firstProbe) = try test.register(first)
        let decision = test.registry.registered(
            try second.descriptor(), over: connection, peerKey: second.linkKey.publicKey,
            unixSeconds: test.unixSeconds)
        guard case .probe(let secondProbe, nil) = decision else { throw TestFailure("registration: \(decision)") }
        #expect(test.finish(firstProbe) == .none)
        #expect(test.listed.isEmpty)
        #expect(test.finish(secondProbe) == .accept(connection))
        #expect(test.listed == [second.fingerprint])
    }

    @Test("refuses who is not in the allow file") func admission() throws {
        let (friend, stranger) = (TestRouter(), TestRouter())
        var test = TestRegistry(admission: .listed([friend.fingerprint: ""]))
        _ = try test.list(friend)
        #expect(test.decision(stranger) == .refuse(.notAdmitted))
    }

    @Test("takes a router out when the allow file no longer names it, and closes its connection") func admissionGone()
        throws
    {
        let (friend, other) = (TestRouter(), TestRouter())
        var test = TestRegistry(admission: .listed([friend.fingerprint: "", other.fingerprint: ""]))
        _ = try test.list(friend)
        let connection = try test.list(other)
        _ = try test.published()
        #expect(test.registry.admissionChanged(to: .listed([friend.fingerprint: ""])) == [connection])
        #expect(test.listed == [friend.fingerprint])
        #expect(test.registry.listingReason(of: other.fingerprint) == .notAdmitted)
        #expect(test.beat(connection, 1) == .notRegistered)
        test.advance(200)
        #expect(try test.published().routers.map(\.identity) == [friend.fingerprint])
    }

    @Test("forgets a probe of a router that the allow file no longer names") func admissionGoneWhileProbed() throws {
        let router = TestRouter()
        var test = TestRegistry(admission: .listed([router.fingerprint: ""]))
        let (connection, probe) = try test.register(router)
        #expect(test.registry.admissionChanged(to: .listed([:])) == [connection])
        #expect(test.finish(probe) == .none)
        #expect(test.listed.isEmpty)
    }

    @Test("refuses addresses off the public Internet; a test network allows loopback and no more") func addresses()
        throws
    {
        var router = TestRouter()
        for (address, isTest, isAllowed) in [
            (IPAddress.v4(0x7f00_0001), false, false), (.v4(0x7f00_0001), true, true),
            (.v4(0x0a00_0001), false, false), (.v4(0x0a00_0001), true, false), (.v4(0xa9fe_a9fe), true, false),
            (.v6(hi: 0, lo: 1), false, false), (.v6(hi: 0, lo: 1), true, true), (.v4(0x0101_0101), false, true),
        ] {
            router.address = Endpoint(address: address, port: 9001)
            var test = TestRegistry({ $0.allowsLoopback = isTest })
            let decision = test.decision(router)
            #expect((decision != .refuse(.unusableAddress)) == isAllowed, "\(address) \(isTest)")
        }
    }

    @Test("refuses a second address, which no probe would prove; a stored router that has one is forgotten")
    func severalAddresses() throws {
        var router = TestRouter()
        router.otherAddresses = [Endpoint(address: .v4(0x0101_0101), port: 443)]
        var test = TestRegistry()
        #expect(test.decision(router) == .refuse(.unusableAddress))
        let stored = [router, TestRouter()].map {
            try? StoredRouter(descriptor: $0.descriptor(), firstSeen: 1, lastSeen: 2, isListed: true)
        }
        test = TestRegistry(stored: stored.compactMap(\.self))
        #expect(stored.compactMap(\.self).count == 2)
        #expect(test.registry.stored.map(\.descriptor.descriptor.addresses.count) == [1])
    }

    @Test(
        "allows a descriptor to be five minutes ahead or behind, and not a second more",
        arguments: [(300, false), (301, true), (-300, false), (-301, true)])
    func clock(ahead: Int, isRefused: Bool) throws {
        var test = TestRegistry()
        let router = TestRouter()
        let result = test.registry.registered(
            try router.descriptor(published: UInt64(Int(test.unixSeconds) + ahead)), over: test.nextConnection(),
            peerKey: router.linkKey.publicKey, unixSeconds: test.unixSeconds)
        #expect((result == .refuse(.clockOff)) == isRefused)
    }

    @Test("refuses a lower sequence, and takes the same again") func sequence() throws {
        var test = TestRegistry()
        let router = TestRouter()
        _ = try test.list(router, sequence: 5)
        #expect(test.decision(router, sequence: 4) == .refuse(.older))
        _ = try test.list(router, sequence: 5)
        _ = try test.list(router, sequence: 6)
    }

    @Test("a newer registration replaces the older, whose events no longer count") func replacement() throws {
        var test = TestRegistry()
        let router = TestRouter()
        let old = try test.list(router)
        let new = test.nextConnection()
        let decision = test.registry.registered(
            try router.descriptor(sequence: 2), over: new, peerKey: router.linkKey.publicKey,
            unixSeconds: test.unixSeconds)
        guard case .probe(let probe, let closing) = decision else { throw TestFailure("\(decision)") }
        #expect(closing == old)
        #expect(test.finish(probe) == .accept(new))
        let probeOfOld = test.registry.connectionClosed(old)
        #expect(probeOfOld == nil)
        #expect(test.beat(old, 1) == .notRegistered)
        #expect(test.beat(new, 1) == .acknowledge)
        #expect(test.listed == [router.fingerprint])
    }

    @Test("an older registration's probe does not answer for the newer one") func overtakenProbe() throws {
        var test = TestRegistry()
        let router = TestRouter()
        let (_, first) = try test.register(router)
        let (connection, second) = try test.register(router, sequence: 2)
        #expect(test.finish(first) == .none)
        #expect(test.listed.isEmpty)
        #expect(test.finish(second) == .accept(connection))
    }

    @Test("keeps a listed router in while its next registration is probed") func reregistration() throws {
        var test = TestRegistry()
        let router = TestRouter()
        _ = try test.list(router)
        let (_, probe) = try test.register(router, sequence: 2)
        test.advance(20_000)
        #expect(test.listed == [router.fingerprint])
        _ = test.finish(probe)
        #expect(test.registry.stored.first?.descriptor.descriptor.sequence == 2)
    }

    @Test("has room for so many routers and no more; known ones may come again") func full() throws {
        var test = TestRegistry({ $0.routerCount = 2 })
        let first = TestRouter()
        _ = try test.list(first)
        _ = try test.register(TestRouter())
        #expect(test.decision(TestRouter()) == .refuse(.registryFull))
        _ = try test.list(first, sequence: 2)
    }

    @Test("probes so many newcomers at once and no more; known routers do not count") func newcomers() throws {
        var test = TestRegistry({ $0.newcomerCount = 2 })
        let known = TestRouter()
        _ = try test.list(known)
        let (_, probe) = try test.register(TestRouter())
        _ = try test.register(TestRouter())
        #expect(test.decision(TestRouter()) == .refuse(.tooManyNewcomers))
        let again = try test.register(known, sequence: 2)
        #expect(!again.probe.isNewcomer)
        #expect(probe.isNewcomer)
        _ = test.finish(probe)
        _ = try test.register(TestRouter())
        #expect(test.decision(TestRouter()) == .refuse(.tooManyNewcomers))
    }

    @Test("an address has sixteen newcomers, and all of them where everybody is on one machine")
    func newcomersByNetwork() {
        #expect(RegistryLimits().newcomersPerAddress == 16)
        #expect(RegistryLimits(.testNetwork).newcomersPerAddress == RegistryLimits().newcomerCount)
    }

    @Test("probes so many newcomers of one address at once and no more, and others all the same")
    func newcomersOfOneAddress() throws {
        var test = TestRegistry({ $0.newcomersPerAddress = 2 })
        func decision(_ router: TestRouter, from address: UInt32) throws -> Registry.RegistrationDecision {
            test.registry.registered(
                try router.descriptor(), over: test.nextConnection(), from: IPAddress.v4(address).sourceNetwork,
                peerKey: router.linkKey.publicKey, unixSeconds: test.unixSeconds)
        }
        let first = TestRouter()
        guard case .probe(let probe, _) = try decision(first, from: 0x0808_0801) else { throw TestFailure("first") }
        let second = ConnectionID(rawValue: test.connections + 1)
        guard case .probe = try decision(TestRouter(), from: 0x0808_0801) else { throw TestFailure("second") }
        #expect(try decision(TestRouter(), from: 0x0808_0801) == .refuse(.tooManyNewcomers))
        guard case .probe = try decision(TestRouter(), from: 0x0808_0802) else { throw TestFailure("elsewhere") }
        // One whose probe is done is no newcomer, and one that has gone leaves its place.
        _ = test.finish(probe)
        guard case .probe = try decision(TestRouter(), from: 0x0808_0801) else { throw TestFailure("third") }
        #expect(try decision(TestRouter(), from: 0x0808_0801) == .refuse(.tooManyNewcomers))
        let gone = test.registry.connectionClosed(second)
        #expect(gone == nil)
        guard case .probe = try decision(TestRouter(), from: 0x0808_0801) else { throw TestFailure("fourth") }
    }

    @Test("a newcomer that has gone is not probed") func goneNewcomer() throws {
        var test = TestRegistry()
        let (connection, probe) = try test.register(TestRouter())
        #expect(test.registry.wants(probe))
        let another = test.registry.connectionClosed(connection)
        #expect(another == nil)
        #expect(!test.registry.wants(probe))
    }

    @Test("forgets routers that were away for a month") func pruning() throws {
        var test = TestRegistry({ $0.forgetAfterSeconds = 100 })
        let (gone, kept) = (TestRouter(), TestRouter())
        let connections = [try test.list(gone), try test.list(kept)]
        let probe = test.registry.connectionClosed(connections[0])
        let closing = test.finish(try #require(probe), .unreachable)
        #expect(closing == .none)
        for beat in 1...60 as ClosedRange<UInt64> {
            test.advance(2000)
            #expect(test.beat(connections[1], beat) == .acknowledge)
            test.registry.prune(unixSeconds: test.unixSeconds)
            #expect(test.registry.stored.count == (beat < 50 ? 2 : 1), "\(beat)")
        }
        #expect(test.listed == [kept.fingerprint])
    }

    @Test("a router that is held is not forgotten, however long ago it was heard") func pruningHeld() throws {
        let router = TestRouter()
        let stored = StoredRouter(descriptor: try router.descriptor(), firstSeen: 1, lastSeen: 2, isListed: true)
        var test = TestRegistry({ $0.forgetAfterSeconds = 100 }, stored: [stored])
        test.registry.prune(unixSeconds: test.unixSeconds)
        #expect(test.listed == [router.fingerprint])
    }

    @Test("a router is not forgotten while its probe is under way, though its connection has closed")
    func pruningProbed() throws {
        let router = TestRouter()
        let stored = StoredRouter(descriptor: try router.descriptor(), firstSeen: 1, lastSeen: 2, isListed: false)
        var test = TestRegistry({ $0.forgetAfterSeconds = 100 }, stored: [stored])
        let (connection, probe) = try test.register(router, sequence: 2)
        let another = test.registry.connectionClosed(connection)
        #expect(another == nil)
        test.registry.prune(unixSeconds: test.unixSeconds)
        #expect(test.finish(probe) == .none)
        #expect(test.listed == [router.fingerprint])
    }

    @Test("a router is not forgotten while its connection is open, whose events would count for the next")
    func pruningConnected() throws {
        var test = TestRegistry({ $0.forgetAfterSeconds = 100 })
        let (silent, kept) = (TestRouter(), TestRouter())
        let connections = [try test.list(silent), try test.list(kept)]
        for beat in 1...60 as ClosedRange<UInt64> {
            test.advance(2000)
            #expect(test.beat(connections[1], beat) == .acknowledge)
        }
        test.registry.prune(unixSeconds: test.unixSeconds)
        #expect(test.listed == [kept.fingerprint])
        let (again, _) = try test.register(silent, sequence: 2)
        #expect(test.beat(connections[0], 1) == .notRegistered)
        #expect(test.beat(again, 1) == .acknowledge)
    }
}

extension TestRegistry {
    mutating func decision(_ router: TestRouter, sequence: UInt64 = 1) -> Registry.RegistrationDecision? {
        guard let descriptor = try? router.descriptor(sequence: sequence) else { return nil }
        return self.registry.registered(
            descriptor, over: self.nextConnection(), peerKey: router.linkKey.publicKey, unixSeconds: self.unixSeconds)
    }
}
