import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionClient

@Suite("Refresh schedule")
struct RefreshScheduleTests {
    @Test("lies in the last half of freshness", arguments: 1...50)
    func lastHalf(seed: UInt64) throws {
        var generator = Xorshift(state: seed)
        let now: UInt64 = 1_800_000_060
        let consensus = try makeConsensus([], now: now)
        let wait = RefreshSchedule.secondsUntilRefresh(of: consensus, hasTicket: true, now: now, using: &generator)
        #expect(now + wait >= (consensus.validAfter + consensus.freshUntil) / 2)
        #expect(now + wait <= consensus.freshUntil)
    }

    @Test("is at another time for each client")
    func spread() throws {
        let now: UInt64 = 1_800_000_060
        let consensus = try makeConsensus([], now: now)
        let waits = (1...50 as ClosedRange<UInt64>).map { seed in
            var generator = Xorshift(state: seed)
            return RefreshSchedule.secondsUntilRefresh(of: consensus, hasTicket: true, now: now, using: &generator)
        }
        #expect(Set(waits).count > 10)
    }

    @Test("is soon without a ticket, and when freshness is over", arguments: 1...20)
    func soon(seed: UInt64) throws {
        var generator = Xorshift(state: seed)
        let consensus = try makeConsensus([], now: 1_800_000_060)
        let range = 1...RefreshSchedule.soonSeconds
        for (hasTicket, now) in [(false, 1_800_000_060), (true, consensus.freshUntil)] {
            let wait = RefreshSchedule.secondsUntilRefresh(
                of: consensus, hasTicket: hasTicket, now: now, using: &generator)
            #expect(range.contains(wait))
        }
    }

    @Test("is not in the past, and not after the consensus has ended", arguments: 1...20)
    func limits(seed: UInt64) throws {
        var generator = Xorshift(state: seed)
        let consensus = try makeConsensus([], now: 1_800_000_060)
        func wait(hasTicket: Bool, before end: UInt64, _ seconds: UInt64) -> UInt64 {
            RefreshSchedule.secondsUntilRefresh(
                of: consensus, hasTicket: hasTicket, now: end - seconds, using: &generator)
        }
        #expect(wait(hasTicket: true, before: consensus.freshUntil, 10) <= 10)
        #expect((1...2).contains(wait(hasTicket: true, before: consensus.validUntil, 2)))
        #expect(wait(hasTicket: true, before: consensus.validUntil, 0) == 1)
    }

    @Test("a ticket is renewed before it ends")
    func ticket() {
        #expect(RefreshSchedule.needsTicket(expires: nil, now: 0))
        #expect(RefreshSchedule.needsTicket(expires: 100_000, now: 100_000 - RefreshSchedule.ticketMarginSeconds + 1))
        #expect(!RefreshSchedule.needsTicket(expires: 100_000, now: 100_000 - RefreshSchedule.ticketMarginSeconds))
    }
}
