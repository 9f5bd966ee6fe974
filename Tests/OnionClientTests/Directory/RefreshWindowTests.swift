import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionClient

@Suite("Refresh schedule under a directory that gives each client a time of its own")
struct RefreshWindowTests {
    private static let start: UInt64 = 1_800_000_000

    /// The seconds after the list's beginning at which clients ask that have just got it.
    private func waits(fresh: UInt64, valid: UInt64) throws -> Set<UInt64> {
        let consensus = try Consensus.make(
            revision: 1, validAfter: Self.start, freshUntil: Self.start + fresh, validUntil: Self.start + valid,
            parameters: NetworkParameters(), routers: [], signedBy: Ed25519PrivateKey())
        return Set(
            (1...200 as ClosedRange<UInt64>).map { seed in
                // Neighbouring seeds begin alike.
                var generator = Xorshift(state: seed &* 0x9e37_79b9_7f4a_7c15)
                return RefreshSchedule.secondsUntilRefresh(
                    of: consensus, hasTicket: true, now: Self.start, using: &generator)
            })
    }

    @Test("a window of two seconds is one of minutes")
    func narrow() throws {
        let waits = try self.waits(fresh: 2, valid: 10_800)
        #expect(waits.allSatisfy { (1...901).contains($0) })
        let longest = try #require(waits.max())
        #expect(longest > 450 && waits.count > 100)
    }

    @Test("it ends well before the list does, however short that is valid")
    func shortValidity() throws {
        #expect(try self.waits(fresh: 2, valid: 120).allSatisfy { (1...11).contains($0) })
        #expect(try self.waits(fresh: 120, valid: 120).allSatisfy { (60...120).contains($0) })
    }

    @Test("one that is long enough is as it is")
    func wide() throws {
        #expect(try self.waits(fresh: 3600, valid: 10_800).allSatisfy { (1800...3600).contains($0) })
    }
}
