import OnionCrypto
import OnionDirectory

/// The client's side of a path assignment: its secret, the directory's salt, and the counter of circuits.
///
/// Until there is a ticket, and after it has expired, the salt is zero.
///
/// - Source: DESIGN §9, *Path assignment*
struct PathAssignment: Sendable {
    private(set) var secret: Bytes32
    private var ticket: PathTicket?
    private var counter: UInt64 = 0

    /// - Parameter secret: 32 random bytes. Not secret in the sense of a key: who learns it can check paths.
    init(secret: Bytes32) { self.secret = secret }

    /// What the directory is to sign.
    var commitment: Bytes32 { PathSeed.commitment(to: self.secret) }

    /// When a new ticket is needed, in Unix seconds; nil when there is none.
    var expires: UInt64? { self.ticket?.expires }

    /// Take the ticket of `secret`, and begin to count anew.
    mutating func adopt(_ ticket: PathTicket, for secret: Bytes32) {
        self.secret = secret
        self.ticket = ticket
        self.counter = 0
    }

    /// Return the seed of the next circuit's path.
    mutating func nextSeed(consensusDigest: Bytes32, now: UInt64) -> Bytes32 {
        defer { self.counter += 1 }
        let salt = self.ticket.flatMap { now < $0.expires ? $0.salt : nil } ?? .zero
        return PathSeed.derive(
            secret: self.secret, salt: salt, consensusDigest: consensusDigest, counter: self.counter)
    }
}
