import OnionCrypto

/// Who is at the other end of a link, as the newest consensus has it.
///
///              listed                     no longer listed
///     client ──────────▶ router ─────────────────────────▶ departed
///                          ▲                                  │
///                          └──────────────────────────────────┘
///                                     listed again
///
/// A client is a proxy, or an OR that no consensus has named yet. What was an OR and has left the consensus never counts
/// as a client: its link keeps the circuits that it has, and takes no new ones.
///
/// - Source: DESIGN §5
struct LinkPeer: Equatable, Sendable {
    private enum State: Equatable { case client, router(Ed25519PublicKey), departed(Ed25519PublicKey) }

    /// What a newer consensus changes.
    enum Change: Equatable {
        case none
        /// The peer is an OR that circuits may go to.
        case joined(Ed25519PublicKey)
        /// It is none any more: no new circuits, in either direction.
        case left(Ed25519PublicKey)
        /// Its key belongs to another OR now.
        case replaced(Ed25519PublicKey, by: Ed25519PublicKey)
    }

    private var state: State

    /// - Parameter identity: the OR of the consensus whose link key the peer proved; nil for everybody else.
    init(_ identity: Ed25519PublicKey?) { self.state = identity.map(State.router) ?? .client }

    /// The OR at the other end, whether it is still in the consensus or not; nil for a client.
    var identity: Ed25519PublicKey? {
        switch self.state {
        case .client: nil
        case .router(let identity), .departed(let identity): identity
        }
    }

    /// Whether the consensus names the peer: only then does what it creates count as coming from an OR.
    var isListed: Bool {
        switch self.state {
        case .router: true
        case .client, .departed: false
        }
    }

    /// Whether a client's limits hold for the peer.
    var isClient: Bool { self.state == .client }
    /// Whether the peer may create circuits.
    var mayCreate: Bool { self.isListed || self.isClient }

    /// A newer consensus came.
    ///
    /// - Parameter listed: the OR that it names for the peer's link key.
    mutating func consensusChanged(listed: Ed25519PublicKey?) -> Change {
        switch (self.state, listed) {
        case (.client, nil), (.departed, nil): return .none
        case (.router(let identity), nil):
            self.state = .departed(identity)
            return .left(identity)
        case (.client, .some(let listed)), (.departed, .some(let listed)):
            self.state = .router(listed)
            return .joined(listed)
        case (.router(let identity), .some(let listed)):
            guard identity != listed else { return .none }
            self.state = .router(listed)
            return .replaced(identity, by: listed)
        }
    }
}
