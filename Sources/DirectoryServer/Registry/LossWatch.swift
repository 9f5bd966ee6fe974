import NIOCore
import OnionCrypto

/// Remembers who vanished within the last interval, and whether all are to be kept for the time being.
///
/// - Source: DESIGN §9: after its start, or when more than half of the ORs vanish within one interval (the fault is then
///   likely the DS's own), the DS keeps the last set running for three intervals plus the longest backoff.
struct LossWatch: Sendable {
    private enum Grace: Equatable, Sendable {
        case none
        /// What the store knew is held; whoever registers anew follows the ordinary rules.
        case afterStart(until: NIODeadline)
        /// Nobody is taken out.
        case afterMassLoss(until: NIODeadline)
    }

    private var grace = Grace.none
    private var losses: [Ed25519PublicKey: NIODeadline] = [:]

    /// Who vanished within the window of the last loss.
    var recent: Set<Ed25519PublicKey> { Set(self.losses.keys) }

    mutating func started(until: NIODeadline) { self.grace = .afterStart(until: until) }

    mutating func lost(_ identity: Ed25519PublicKey, now: NIODeadline, window: TimeAmount) {
        self.losses = self.losses.filter { now - $0.value <= window }
        self.losses[identity] = now
    }

    mutating func mostVanished(until: NIODeadline) {
        self.losses = [:]
        self.grace = .afterMassLoss(until: until)
    }

    /// Whether a router that vanishes now is to be kept.
    func holdsAll(now: NIODeadline) -> Bool {
        switch self.grace {
        case .none, .afterStart: false
        case .afterMassLoss(let until): now < until
        }
    }

    /// Whether a grace was on and is over; says so once.
    mutating func graceEnded(now: NIODeadline) -> Bool {
        switch self.grace {
        case .none: return false
        case .afterStart(let until), .afterMassLoss(let until):
            guard now >= until else { return false }
            self.grace = .none
            return true
        }
    }
}
