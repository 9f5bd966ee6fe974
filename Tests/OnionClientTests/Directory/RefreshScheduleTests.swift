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

    @Test("a ticket is renewed before it ends")
    func ticket() {
        #expect(RefreshSchedule.needsTicket(expires: nil, now: 0))
        #expect(RefreshSchedule.needsTicket(expires: 100_000, now: 100_000 - RefreshSchedule.ticketMarginSeconds + 1))
        #expect(!RefreshSchedule.needsTicket(expires: 100_000, now: 100_000 - RefreshSchedule.ticketMarginSeconds))
    }
}
