import NIOCore
import OnionDirectory

/// When the directory is asked next: at a random time in the last half of the consensus's freshness, so that the time
/// tells nothing about the user, and not all clients come at once.
///
/// - Source: DESIGN §9 *Privacy of asking*
enum RefreshSchedule {
    /// A client that starts with an old consensus, or without a ticket, asks after a random part of this, in seconds.
    static let soonSeconds: UInt64 = 20
    /// The time that is drawn from is at least this part of the consensus's validity, a quarter of an hour of three hours: a
    /// directory that called each client's list fresh for a few seconds of its own would know each by when it asks.
    static let leastPartOfValidity: UInt64 = 12
    /// A ticket that ends within this of the next refresh is renewed with it.
    static let ticketMarginSeconds: UInt64 = 4 * 3600

    /// Return how many seconds to wait.
    ///
    /// - Parameters:
    ///   - hasTicket: whether paths are drawn with a ticket's salt.
    ///   - now: Unix seconds.
    static func secondsUntilRefresh(
        of consensus: Consensus, hasTicket: Bool, now: UInt64, using generator: inout some RandomNumberGenerator
    ) -> UInt64 {
        let soon = UInt64.random(in: 1...Self.soonSeconds, using: &generator)
        let window = Self.window(of: consensus)
        guard hasTicket, now < window.upperBound else {
            return min(soon, Self.remaining(consensus.validUntil, now))
        }
        return UInt64.random(in: max(window.lowerBound, now)...window.upperBound, using: &generator) - now
    }

    /// When the consensus is to be refreshed, in Unix seconds.
    private static func window(of consensus: Consensus) -> ClosedRange<UInt64> {
        let half = consensus.validAfter + (consensus.freshUntil - consensus.validAfter) / 2
        let least = (consensus.validUntil - consensus.validAfter) / Self.leastPartOfValidity
        return half...max(consensus.freshUntil, half + least)
    }

    /// Whether a ticket of that expiry is to be renewed now.
    static func needsTicket(expires: UInt64?, now: UInt64) -> Bool {
        guard let expires else { return true }
        return expires < now.addingReportingOverflow(Self.ticketMarginSeconds).partialValue
    }

    private static func remaining(_ end: UInt64, _ now: UInt64) -> UInt64 { end > now ? end - now : 1 }
}
