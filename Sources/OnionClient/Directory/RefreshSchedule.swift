import NIOCore
import OnionDirectory

/// When the directory is asked next: at a random time in the last half of the consensus's freshness, so that the time
/// tells nothing about the user, and not all clients come at once.
///
/// - Source: DESIGN §9 *Privacy of asking*
enum RefreshSchedule {
    /// A client that starts with an old consensus, or without a ticket, asks after a random part of this, in seconds.
    static let soonSeconds: UInt64 = 20
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
        guard hasTicket, now < consensus.freshUntil else { return min(soon, Self.remaining(consensus.validUntil, now)) }
        let half = consensus.validAfter + (consensus.freshUntil - consensus.validAfter) / 2
        return UInt64.random(in: max(half, now)...consensus.freshUntil, using: &generator) - now
    }

    /// Whether a ticket of that expiry is to be renewed now.
    static func needsTicket(expires: UInt64?, now: UInt64) -> Bool {
        guard let expires else { return true }
        return expires < now.addingReportingOverflow(Self.ticketMarginSeconds).partialValue
    }

    private static func remaining(_ end: UInt64, _ now: UInt64) -> UInt64 { end > now ? end - now : 1 }
}
