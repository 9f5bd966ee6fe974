import NIOCore
import OnionCrypto

/// Routers at which circuits have failed lately. Paths leave them out, while others will do.
///
/// Where a circuit failed is the word of those before that place: a hostile guard can blame whom it likes. So only a quarter
/// of the network is left out at once, or two routers, those blamed last. Blame can turn a draw away from a router that is down; it cannot
/// leave accomplices alone to be drawn.
///
/// - Source: DESIGN §10; path bias in Tor's path-spec, §7
struct Suspects: Sendable {
    /// So many may be down at once in a small network.
    static let leastLeftOut = 2

    private let age: TimeAmount
    private var blamed: [Ed25519PublicKey: NIODeadline] = [:]

    /// - Parameter age: for how long somebody is suspected.
    init(age: TimeAmount) { self.age = age }

    mutating func blame(_ identity: Ed25519PublicKey, now: NIODeadline) { self.blamed[identity] = now }

    /// A circuit through it is complete.
    mutating func clear(_ identity: Ed25519PublicKey) { self.blamed[identity] = nil }

    /// Forget what is too long ago.
    mutating func timePassed(now: NIODeadline) { self.blamed = self.blamed.filter { now - $0.value < self.age } }

    /// Whom to leave out of a path.
    ///
    /// - Parameters:
    ///   - hanging: routers that have not answered a circuit for long, one for each circuit; they count as blamed just now.
    ///     One behind a router that has stopped hangs with it, but fewer circuits wait for it.
    ///   - routerCount: how many there are in the network.
    func leftOut(hanging: some Sequence<Ed25519PublicKey>, of routerCount: Int) -> Set<Ed25519PublicKey> {
        let counts = hanging.reduce(into: [:]) { $0[$1, default: 0] += 1 }
        let waitedFor = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key)
        let blamed = self.blamed.filter { counts[$0.key] == nil }.sorted { $0.value > $1.value }.map(\.key)
        return Set((waitedFor + blamed).prefix(max(Self.leastLeftOut, routerCount / 4)))
    }
}
