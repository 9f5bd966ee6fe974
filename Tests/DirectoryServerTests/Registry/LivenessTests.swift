import NIOCore
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Registry: heartbeats and losses")
struct LivenessTests {
    /// A network of routers that beat together.
    struct Network {
        var test: TestRegistry
        var routers: [TestRouter]
        var connections: [ConnectionID]
        private var counter: UInt64 = 0

        init(_ count: Int) throws {
            self.test = TestRegistry()
            self.routers = (0..<count).map { _ in TestRouter() }
            self.connections = []
            for router in self.routers { self.connections.append(try self.test.list(router)) }
            // Past the grace of the start.
            for _ in 0..<10 { self.beatAndAdvance(Array(0..<count)) }
        }

        /// These beat now; then two seconds pass.
        mutating func beatAndAdvance(_ alive: [Int]) {
            self.counter += 1
            for index in alive { _ = self.test.beat(self.connections[index], self.counter) }
            self.test.advance(2000)
        }

        func reason(_ index: Int) -> ListingReason {
            self.test.registry.listingReason(of: self.routers[index].fingerprint)
        }

        func isListed(_ index: Int) -> Bool { self.test.listed.contains(self.routers[index].fingerprint) }
    }

    @Test("three missed beats take a router out, and not a moment earlier") func missedBeats() throws {
        var network = try Network(5)
        // The last beat was 2 s ago.
        network.beatAndAdvance([1, 2, 3, 4])
        network.beatAndAdvance([1, 2, 3, 4])
        #expect(network.isListed(0))
        network.test.advance(499)
        #expect(network.isListed(0) && network.reason(0) == .registered)
        network.test.advance(1)
        #expect(!network.isListed(0) && network.reason(0) == .heartbeatsMissed)
        #expect(network.test.listed.count == 4)
    }

    @Test("a beat after the third comes back only through a probe") func comeBack() throws {
        var network = try Network(5)
        for _ in 0..<3 { network.beatAndAdvance([1, 2, 3, 4]) }
        #expect(!network.isListed(0))
        guard case .acknowledgeAndProbe(let probe) = network.test.beat(network.connections[0], 100) else {
            throw TestFailure("no probe")
        }
        #expect(network.test.beat(network.connections[0], 101) == .acknowledge)
        #expect(!network.isListed(0))
        #expect(network.test.finish(probe) == .none)
        #expect(network.isListed(0) && network.reason(0) == .answersAgain)
    }

    @Test("heartbeats of a router that cannot be reached cause a probe a second, and no more") func doubts() throws {
        var network = try Network(5)
        for _ in 0..<3 { network.beatAndAdvance([1, 2, 3, 4]) }
        for round in 0..<3 as Range<UInt64> {
            guard case .acknowledgeAndProbe(let probe) = network.test.beat(network.connections[0], 100 + 10 * round)
            else { throw TestFailure("no probe") }
            #expect(network.test.finish(probe, .unreachable) == .none)
            #expect(network.test.beat(network.connections[0], 101 + 10 * round) == .acknowledge)
            network.test.advance(999)
            #expect(network.test.beat(network.connections[0], 102 + 10 * round) == .acknowledge)
            network.test.advance(1)
        }
    }

    @Test("the counter must rise on one connection, and starts anew on the next") func counter() throws {
        var test = TestRegistry()
        let router = TestRouter()
        let first = try test.list(router)
        #expect(test.beat(first, 7) == .acknowledge)
        #expect(test.beat(first, 7) == .counterNotRising)
        #expect(test.beat(first, 6) == .counterNotRising)
        #expect(test.beat(first, 8) == .acknowledge)
        // Already while the next connection's registration is probed.
        let (second, probe) = try test.register(router, sequence: 2)
        #expect(test.beat(second, 1) == .acknowledge)
        #expect(test.finish(probe) == .accept(second))
        #expect(test.beat(second, 2) == .acknowledge)
    }

    @Test("a closed connection makes a probe at once; its failure takes the router out") func closed() throws {
        var network = try Network(5)
        let probe = try network.test.closed(network.connections[0])
        #expect(network.isListed(0))
        #expect(network.test.finish(probe, .unreachable) == .none)
        #expect(!network.isListed(0) && network.reason(0) == .closed)
    }

    @Test("a router that answers the probe has three beats' time to come back") func closedAndAlive() throws {
        var network = try Network(5)
        let probe = try network.test.closed(network.connections[0])
        _ = network.test.finish(probe)
        network.beatAndAdvance([1, 2, 3, 4])
        network.beatAndAdvance([1, 2, 3, 4])
        network.beatAndAdvance([1, 2, 3, 4])
        #expect(network.isListed(0))
        network.test.advance(500)
        #expect(!network.isListed(0))
    }

    @Test("half of the routers may vanish within an interval, and are taken out") func half() throws {
        var network = try Network(4)
        for index in [0, 1] {
            let probe = try network.test.closed(network.connections[index])
            _ = network.test.finish(probe, .unreachable)
        }
        #expect(network.test.listed.count == 2)
    }

    @Test("when more than half vanish within an interval, all are held until the grace is over") func massLoss() throws
    {
        var network = try Network(5)
        for index in [0, 1, 2] {
            let probe = try network.test.closed(network.connections[index])
            _ = network.test.finish(probe, .unreachable)
            #expect(network.test.listed.count == [4, 3, 5][index])
        }
        // Three intervals and the longest backoff: 6 s + 4 s.
        for _ in 0..<4 { network.beatAndAdvance([3, 4]) }
        network.test.advance(1999)
        #expect(network.test.listed.count == 5 && network.reason(0) == .heldWithMost)
        network.test.advance(1)
        #expect(network.test.listed.count == 2 && network.reason(0) == .notBack)
    }

    @Test("a router that registers anew and does not answer is taken out, and for that reason") func failedAnew() throws
    {
        var network = try Network(5)
        let (connection, probe) = try network.test.register(network.routers[0], sequence: 2)
        #expect(network.test.finish(probe, .unreachable) == .refuse(connection, .unreachable))
        #expect(!network.isListed(0) && network.reason(0) == .refused)
    }

    @Test("the connection of a router that is out already is closed without a probe") func closedAbsent() throws {
        var network = try Network(5)
        for _ in 0..<3 { network.beatAndAdvance([1, 2, 3, 4]) }
        #expect(!network.isListed(0))
        let probe = network.test.registry.connectionClosed(network.connections[0])
        #expect(probe == nil)
    }

    @Test("while all are held, another's silence makes no consensus, and a closed connection no probe")
    func heldSilence() throws {
        var network = try Network(5)
        for _ in 0..<3 { network.beatAndAdvance([4]) }
        #expect(network.test.listed.count == 5)
        _ = try network.test.published()
        network.test.advance(4500)
        #expect(network.test.listed.count == 5)
        #expect(network.test.publication() == nil)
        let probe = network.test.registry.connectionClosed(network.connections[0])
        #expect(probe == nil)
    }

    @Test("a registration under way is a sign of life of a router that does not beat") func silentRegistration() throws
    {
        var network = try Network(5)
        let (connection, probe) = try network.test.register(network.routers[0], sequence: 2)
        for _ in 0..<5 { network.beatAndAdvance([1, 2, 3, 4]) }
        #expect(network.isListed(0))
        #expect(network.test.finish(probe) == .accept(connection))
        #expect(network.isListed(0))
    }

    @Test("losses further apart than an interval do not add up") func slowLoss() throws {
        var network = try Network(5)
        for index in [0, 1, 2] {
            let probe = try network.test.closed(network.connections[index])
            _ = network.test.finish(probe, .unreachable)
            network.beatAndAdvance([3, 4])
            network.test.advance(1)
        }
        #expect(network.test.listed.count == 2)
    }

    @Test("silence of most routers is a mass loss too, and who beats again simply stays") func massSilence() throws {
        var network = try Network(5)
        for _ in 0..<3 { network.beatAndAdvance([4]) }
        #expect(network.test.listed.count == 5)
        for _ in 0..<6 { network.beatAndAdvance([0, 1, 2, 3, 4]) }
        #expect(network.test.listed.count == 5)
    }

    @Test("what was stored is held after a start, until the grace is over") func start() throws {
        let routers = (0..<3).map { _ in TestRouter() }
        let stored = try routers.map {
            StoredRouter(descriptor: try $0.descriptor(), firstSeen: 1, lastSeen: 2, isListed: true)
        }
        var test = TestRegistry(stored: stored)
        #expect(test.listed.count == 3)
        let connection = try test.list(routers[0])
        for beat in 1...4 as ClosedRange<UInt64> {
            test.advance(2000)
            #expect(test.beat(connection, beat) == .acknowledge)
        }
        test.advance(1999)
        #expect(test.listed.count == 3)
        test.advance(1)
        #expect(test.listed == [routers[0].fingerprint])
    }

    @Test("what was not listed is not held, and who is not admitted any more is dropped") func startWithoutOthers()
        throws
    {
        let routers = (0..<3).map { _ in TestRouter() }
        let stored = try routers.enumerated().map {
            StoredRouter(descriptor: try $1.descriptor(), firstSeen: 1, lastSeen: 2, isListed: $0 != 0)
        }
        let test = TestRegistry(
            admission: .listed([routers[0].fingerprint: "", routers[1].fingerprint: ""]), stored: stored)
        #expect(test.listed == [routers[1].fingerprint])
        #expect(test.registry.stored.count == 2)
    }

    @Test("a router that registers anew during the grace of the start follows the ordinary rules") func newDuringStart()
        throws
    {
        var test = TestRegistry()
        let connections = try (0..<3).map { _ in try test.list(TestRouter()) }
        test.advance(1000)
        let probe = try test.closed(connections[0])
        _ = test.finish(probe, .unreachable)
        #expect(test.listed.count == 2)
    }
}

@Suite("Losses of routers")
struct LossWatchTests {
    private let start = NIODeadline.uptimeNanoseconds(0)

    @Test("count for an interval from the last one of each") func window() {
        let routers = (0..<3).map { _ in Ed25519PrivateKey().publicKey }
        let window = TimeAmount.seconds(2)
        var losses = LossWatch()
        losses.lost(routers[0], now: self.start, window: window)
        losses.lost(routers[1], now: self.start + window, window: window)
        #expect(losses.recent == [routers[0], routers[1]])
        losses.lost(routers[2], now: self.start + window + .nanoseconds(1), window: window)
        #expect(losses.recent == [routers[1], routers[2]])
        losses.lost(routers[1], now: self.start + window * 2, window: window)
        losses.lost(routers[2], now: self.start + window * 3, window: window)
        #expect(losses.recent == [routers[1], routers[2]])
    }

    @Test("after a mass loss all are held until the grace is over, and not at that moment") func grace() {
        var losses = LossWatch()
        #expect(!losses.holdsAll(now: self.start))
        let end = self.start + .seconds(10)
        losses.mostVanished(until: end)
        #expect(losses.holdsAll(now: end - .nanoseconds(1)))
        #expect(!losses.holdsAll(now: end))
    }
}
