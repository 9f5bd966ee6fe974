import NIOCore
import OnionCrypto

/// Routers at which circuits have failed lately. Paths leave them out, while others will do.
///
/// Where a circuit failed is the word of those before that place: a hostile guard can blame whom it likes. So only a quarter
/// of the network is left out at once, or two routers. Blame can turn a draw away from a router that is down; it cannot leave
/// accomplices alone to be drawn.
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

    /// Whom to leave out of a path: those with the most points, of which a failure lately is worth two, and a circuit that
    /// hangs one.
    ///
    /// - Parameters:
    ///   - hanging: for each circuit that has had no answer for long the router that it waits for, and the one before: either
    ///     may be the one that has stopped, and the one that has is named by more circuits.
    ///   - entry: the guard, which is judged by its link alone.
    ///   - routerCount: how many there are in the network.
    func leftOut(
        hanging: some Sequence<Ed25519PublicKey>, behind entry: Ed25519PublicKey, of routerCount: Int
    ) -> Set<Ed25519PublicKey> {
        var points = self.blamed.mapValues { _ in 2 }
        for router in hanging { points[router, default: 0] += 1 }
        points[entry] = nil
        let never = NIODeadline.uptimeNanoseconds(0)
        func rank(_ router: Ed25519PublicKey) -> (Int, NIODeadline) {
            (points[router] ?? 0, self.blamed[router] ?? never)
        }
        let worstFirst = points.keys.sorted { rank($0) == rank($1) ? $0 < $1 : rank($0) > rank($1) }
        return Set(worstFirst.prefix(max(Self.leastLeftOut, routerCount / 4)))
    }
}
