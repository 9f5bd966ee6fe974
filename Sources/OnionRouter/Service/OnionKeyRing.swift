import OnionCrypto

/// The onion keys of an OR: the one that its descriptor names, and for a while the one before, so that rotation fails no
/// circuit.
///
/// A value; time comes in as an argument. ``RouterKeyStore`` keeps it on disk.
///
/// - Source: DESIGN §4
struct OnionKeyRing: Sendable {
    struct Key: Sendable {
        let secret: X25519PrivateKey
        /// Unix seconds.
        let made: UInt64
    }

    private(set) var current: Key
    private(set) var previous: Key?

    init(current: Key, previous: Key?) {
        self.current = current
        self.previous = previous
    }

    /// The keys that handshakes are answered with, the current one first.
    var accepted: [X25519PrivateKey] { [self.current.secret] + (self.previous.map { [$0.secret] } ?? []) }

    /// Until when the current key is named, in Unix seconds.
    func validUntil(lifetime: Int, overlap: Int) -> UInt64 { self.current.made + UInt64(lifetime + overlap) }

    /// Replace the key when its time has come, and drop the one before when the overlap is over.
    ///
    /// - Returns: whether anything changed.
    mutating func rotate(now: UInt64, lifetime: Int, overlap: Int, make: () -> X25519PrivateKey) -> Bool {
        // A clock that was wrong when the key was made must not keep it for ever.
        if now >= self.current.made + UInt64(lifetime) || self.current.made > now + UInt64(overlap) {
            // Dated so that the newest key on disk is the current one.
            self.previous = Key(secret: self.current.secret, made: min(self.current.made, now > 0 ? now - 1 : 0))
            self.current = Key(secret: make(), made: now)
            return true
        }
        guard self.previous != nil, now >= self.current.made + UInt64(overlap) else { return false }
        self.previous = nil
        return true
    }
}
