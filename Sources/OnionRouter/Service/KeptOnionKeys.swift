import OnionCrypto

/// The onion keys in use, kept on disk as far as the disk allows.
///
/// A new key is used and announced even when it cannot be saved, and saved as soon as it can be: an OR whose disk is full
/// goes on. What is lost by a restart meanwhile is one key, and the next registration names another.
struct KeptOnionKeys {
    private let store: RouterKeyStore
    private(set) var ring: OnionKeyRing
    /// Why the newest key is not on disk; nil if it is.
    private(set) var saveFailure: (any Error)?

    init(_ ring: OnionKeyRing, store: RouterKeyStore) {
        self.ring = ring
        self.store = store
    }

    /// Replace the key when its time has come; see ``OnionKeyRing/rotate(now:lifetime:overlap:make:)``.
    ///
    /// - Returns: whether other keys are accepted than before.
    mutating func rotate(now: UInt64, lifetime: Int, overlap: Int) -> Bool {
        let isChanged = self.ring.rotate(now: now, lifetime: lifetime, overlap: overlap, make: { X25519PrivateKey() })
        if isChanged || self.saveFailure != nil { self.save() }
        return isChanged
    }

    private mutating func save() {
        do {
            try self.store.save(self.ring)
            self.saveFailure = nil
        } catch {
            self.saveFailure = error
        }
    }
}
