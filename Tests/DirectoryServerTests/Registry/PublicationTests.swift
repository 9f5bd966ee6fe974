import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Registry: publication")
struct PublicationTests {
    @Test("publishes at once at the start, at a change, and then not until the next") func due() throws {
        var test = TestRegistry()
        #expect(test.publication()?.routers.isEmpty == true)
        #expect(test.publication() == nil)
        let router = TestRouter()
        test.advance(1000)
        let connection = try test.list(router)
        #expect(test.publication()?.routers.map(\.identity) == [router.fingerprint])
        test.advance(1000)
        #expect(test.beat(connection, 1) == .acknowledge)
        #expect(test.publication() == nil)
    }

    @Test("collects changes that come close together") func spacing() throws {
        var test = TestRegistry()
        _ = test.publication()
        _ = try test.list(TestRouter())
        test.advance(199)
        #expect(test.publication() == nil)
        _ = try test.list(TestRouter())
        test.advance(1)
        #expect(test.publication()?.routers.count == 2)
    }

    @Test("a registration that says nothing new makes no revision; a new address or key makes one at once")
    func sameAgain() throws {
        var test = TestRegistry()
        var router = TestRouter()
        _ = try test.list(router)
        _ = try test.published()
        for sequence in 2...3 as ClosedRange<UInt64> {
            test.advance(1000)
            _ = try test.list(router, sequence: sequence)
            #expect(test.publication() == nil)
        }
        test.advance(1000)
        router.address.port += 1
        _ = try test.list(router, sequence: 4)
        #expect(try test.published().routers.map(\.descriptor.descriptor.sequence) == [4])
        _ = try test.list(router, sequence: 5)
        test.now = test.now + .seconds(1800)
        #expect(try test.published().routers.map(\.descriptor.descriptor.sequence) == [5])
    }

    @Test("changes of one router are published at once, but after so many only one in ten seconds; others' at once")
    func oneRouterChanges() throws {
        var test = TestRegistry({ $0.changeBurst = 3 })
        var router = TestRouter()
        _ = try test.published()
        test.now = test.now + .seconds(1)
        func change() throws -> Registry.Publication? {
            router.address.port += 1
            _ = try test.list(router)
            test.now = test.now + .seconds(1)
            return test.publication()
        }
        for _ in 0..<3 { #expect(try change() != nil) }
        // Ten seconds from the first are over with the seventh of these.
        var revisions = try (0..<27).map { _ in try change() != nil }
        #expect(revisions.indices.filter { revisions[$0] } == [6, 16, 26])
        _ = try test.list(TestRouter())
        test.now = test.now + .seconds(1)
        #expect(try test.published().routers.count == 2)
        revisions = try (0..<9).map { _ in try change() != nil }
        #expect(revisions.count { $0 } == 1)
        // After a while all is as it was.
        test.now = test.now + .seconds(40)
        for _ in 0..<3 { #expect(try change() != nil) }
        #expect(try change() == nil)
    }

    @Test("a router that comes and goes again and again makes no more revisions than that")
    func flapping() throws {
        var test = TestRegistry({ $0.changeBurst = 3 })
        for _ in 0..<5 { _ = try test.list(TestRouter()) }
        let router = TestRouter()
        _ = try test.published()
        var count = 0
        for _ in 0..<50 {
            let connection = try test.list(router)
            test.now = test.now + .seconds(1)
            if test.publication() != nil { count += 1 }
            #expect(test.finish(try test.closed(connection), .unreachable) == .none)
            test.now = test.now + .seconds(1)
            if test.publication() != nil { count += 1 }
        }
        #expect((10...13).contains(count))
    }

    @Test("signs anew after half an hour without a change") func resign() throws {
        var test = TestRegistry()
        _ = test.publication()
        test.now = test.now + .seconds(1799)
        #expect(test.publication() == nil)
        test.now = test.now + .seconds(1)
        let publication = try test.published()
        #expect(publication.freshUntil - publication.validAfter == 3600)
        #expect(publication.validUntil - publication.validAfter == 3 * 3600)
    }

    @Test("the revision is the time in milliseconds, or one more than the last when the clock is behind")
    func revision()
        throws
    {
        var test = TestRegistry(lastRevision: 5)
        #expect(test.publication()?.revision == TestRegistry.startSeconds * 1000)
        var behind = TestRegistry(lastRevision: 2_000_000_000_000)
        #expect(behind.publication()?.revision == 2_000_000_000_001)
        behind.registry.publicationFailed()
        behind.advance(200)
        #expect(behind.publication()?.revision == 2_000_000_000_002)
    }

    @Test("an unmeasured router weighs what it claims, but at most the median") func weights() throws {
        var test = TestRegistry()
        for rate in [100_000, 200_000, 300_000, 4_000_000, 0] as [UInt64] {
            var router = TestRouter()
            router.bandwidthRate = rate
            _ = try test.list(router)
        }
        let publication = try test.published()
        #expect(publication.routers.map(\.weight).sorted() == [100_000, 200_000, 300_000, 300_000, 300_000])
    }

    @Test("a claim of more than 1 GB/s counts as no limit does") func hugeClaim() throws {
        var test = TestRegistry()
        for rate in [0, 1_000_000_001, .max] as [UInt64] {
            var router = TestRouter()
            router.bandwidthRate = rate
            _ = try test.list(router)
        }
        #expect(try test.published().routers.map(\.weight) == Array(repeating: 1_000_000_000, count: 3))
    }

    @Test(
        "Fast are those of 100 kB/s, and in a slow network the faster seven eighths",
        arguments: [
            ([10_000] + Array(repeating: 50_000, count: 8), 50_000),
            ([99_999, 100_000] + Array(repeating: 1_000_000, count: 15), 100_000),
        ] as [([UInt64], UInt64)])
    func fast(rates: [UInt64], slowest: UInt64) throws {
        var test = TestRegistry()
        for rate in rates {
            var router = TestRouter()
            router.bandwidthRate = rate
            _ = try test.list(router)
        }
        let fast = try test.published().routers.filter { $0.flags.contains(.fast) }
        #expect(fast.map(\.descriptor.descriptor.bandwidthRate).min() == slowest)
    }

    @Test(
        "Stable and Guard come within ten minutes and an hour of the median, or after five and eight days",
        arguments: [
            (7200, 6600, [.stable, .guard]), (7200, 6599, [.guard]), (7200, 3600, [.guard]), (7200, 3599, []),
            (20 * 86_400, 5 * 86_400 - 1, []), (20 * 86_400, 5 * 86_400, [.stable]),
            (20 * 86_400, 8 * 86_400 - 1, [.stable]), (20 * 86_400, 8 * 86_400, [.stable, .guard]),
        ] as [(Int64, Int64, RouterFlags)])
    func ages(oldSeconds: Int64, newSeconds: Int64, flags: RouterFlags) throws {
        var test = TestRegistry()
        for _ in 0..<3 { _ = try test.list(TestRouter()) }
        test.now = test.now + .seconds(oldSeconds - newSeconds)
        let newcomer = TestRouter()
        _ = try test.list(newcomer)
        test.now = test.now + .seconds(newSeconds)
        let found = try test.published().routers.first { $0.identity == newcomer.fingerprint }?.flags
        #expect(found?.intersection([.stable, .guard]) == flags)
    }

    @Test("a router that was first seen in the future, by a clock that has gone back, counts as new") func clockBack()
        throws
    {
        let stored = StoredRouter(
            descriptor: try TestRouter().descriptor(), firstSeen: TestRegistry.startSeconds + 1000,
            lastSeen: TestRegistry.startSeconds, isListed: true)
        var test = TestRegistry(stored: [stored])
        #expect(try test.published().routers.count == 1)
    }

    @Test("Exit goes by the policy, Fast by the claim") func exitAndFast() throws {
        var test = TestRegistry()
        var inner = TestRouter()
        inner.exitPolicy = .rejectAll
        var slow = TestRouter()
        slow.bandwidthRate = 50_000
        var fast = TestRouter()
        fast.bandwidthRate = 100_000
        var flags: [Ed25519PublicKey: RouterFlags] = [:]
        for router in [inner, slow, fast] + (0..<8).map({ _ in TestRouter() }) { _ = try test.list(router) }
        for router in try test.published().routers { flags[router.identity] = router.flags }
        #expect(flags[inner.fingerprint]?.contains(.exit) == false)
        #expect(flags[slow.fingerprint]?.contains(.exit) == true)
        #expect(flags[slow.fingerprint]?.contains(.fast) == false)
        #expect(flags[slow.fingerprint]?.contains(.guard) == false)
        #expect(flags[fast.fingerprint]?.contains(.fast) == true)
    }

    @Test("a young network has guards; a newcomer to an old one is not a guard for an hour") func guards() throws {
        var test = TestRegistry()
        let old = (0..<3).map { _ in TestRouter() }
        for router in old { _ = try test.list(router) }
        #expect(try test.published().routers.allSatisfy { $0.flags.isSuperset(of: [.guard, .stable]) })
        test.now = test.now + .seconds(7200)
        let newcomer = TestRouter()
        _ = try test.list(newcomer)
        let flags = try test.published().routers.first { $0.identity == newcomer.fingerprint }?.flags
        #expect(flags?.contains(.guard) == false)
        #expect(flags?.contains(.stable) == false)
        #expect(flags?.contains(.fast) == true)
    }
}

@Suite("Allow list")
struct AllowListTests {
    @Test("takes fingerprints, nicknames, comments and empty lines") func good() {
        let (one, two) = (TestRouter().fingerprint, TestRouter().fingerprint)
        let (routers, errors) = AllowList.parse("# ours\n\n\(one.base64URL) alice # the first\r\n  \(two.base64URL)\n")
        #expect(routers == [one: "alice", two: ""])
        #expect(errors.isEmpty)
    }

    @Test("reports each bad line with its number, and keeps the others") func bad() {
        let (one, two) = (TestRouter().fingerprint.base64URL, TestRouter().fingerprint.base64URL)
        let (routers, errors) = AllowList.parse("nonsense\n\(one)\n\(one)\n\(two) a b\n\(one.dropLast())")
        #expect(routers.count == 1)
        #expect(errors.map(\.line) == [1, 3, 4, 5])
    }
}
