import NIOCore
import Testing

@testable import OnionLink

@Suite("Link liveness")
struct LinkLivenessTests {
    private static func at(_ milliseconds: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .milliseconds(milliseconds) }

    @Test("pings after a second of silence, once, and gives up after two and a half")
    func silence() {
        var liveness = LinkLiveness(now: Self.at(0))
        #expect(liveness.tick(now: Self.at(500), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(1000), circuitCount: 1) == .sendPing)
        #expect(liveness.tick(now: Self.at(1500), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(2000), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(2499), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(2500), circuitCount: 1) == .closeFrozen)
    }

    @Test("anything that comes ends the silence")
    func received() {
        var liveness = LinkLiveness(now: Self.at(0))
        #expect(liveness.tick(now: Self.at(1000), circuitCount: 1) == .sendPing)
        liveness.received(now: Self.at(1400))
        #expect(liveness.tick(now: Self.at(2000), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(2400), circuitCount: 1) == .sendPing)
        #expect(liveness.tick(now: Self.at(3900), circuitCount: 1) == .closeFrozen)
    }

    @Test("a link without circuits is not watched, and closes when its time is over")
    func unused() {
        var liveness = LinkLiveness(now: Self.at(0), unusedAfter: .seconds(4))
        for time in stride(from: Int64(500), to: 4000, by: 500) {
            #expect(liveness.tick(now: Self.at(time), circuitCount: 0) == .none)
        }
        #expect(liveness.tick(now: Self.at(4000), circuitCount: 0) == .closeUnused)
        // The first circuit begins both counts anew.
        var used = LinkLiveness(now: Self.at(0), unusedAfter: .seconds(4))
        for time in stride(from: Int64(500), through: 3500, by: 500) {
            _ = used.tick(now: Self.at(time), circuitCount: 0)
        }
        #expect(used.tick(now: Self.at(4000), circuitCount: 1) == .none)
        #expect(used.tick(now: Self.at(4500), circuitCount: 1) == .sendPing)
    }

    @Test("when this process stood still, the peer is not to blame")
    func stoodStill() {
        var liveness = LinkLiveness(now: Self.at(0))
        #expect(liveness.tick(now: Self.at(500), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(60_000), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(61_000), circuitCount: 1) == .sendPing)
    }

    @Test("the network's times count, and new ones from when they come")
    func times() {
        var liveness = LinkLiveness(now: Self.at(0), pingAfter: .milliseconds(100), frozenAfter: .milliseconds(300))
        #expect(liveness.tickInterval == .milliseconds(50))
        #expect(liveness.tick(now: Self.at(50), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(100), circuitCount: 1) == .sendPing)
        #expect(liveness.tick(now: Self.at(200), circuitCount: 1) == .none)
        var limits = LinkLimits(queuedCellsPerCircuit: 1, queuedCellsPerLink: 1, unusedAfter: .seconds(9))
        limits.frozenAfter = .milliseconds(350)
        liveness.update(limits)
        #expect(liveness.tickInterval == .milliseconds(175))
        #expect(liveness.tick(now: Self.at(349), circuitCount: 1) == .none)
        #expect(liveness.tick(now: Self.at(350), circuitCount: 1) == .closeFrozen)
    }

    @Test(
        "ticks neither too often nor too seldom", arguments: [(1, 5), (10, 5), (400, 200), (1000, 500), (60_000, 500)])
    func tickInterval(pingAfter: Int64, interval: Int64) {
        let liveness = LinkLiveness(
            now: Self.at(0), pingAfter: .milliseconds(pingAfter), frozenAfter: .milliseconds(pingAfter * 2))
        #expect(liveness.tickInterval == .milliseconds(interval))
    }
}
