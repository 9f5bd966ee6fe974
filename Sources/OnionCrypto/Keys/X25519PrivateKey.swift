import CSodium

/// An X25519 key that agrees on secrets: a router's onion key, or one end of a handshake. Wiped when dropped.
public final class X25519PrivateKey: Sendable {
    public static let seedByteCount = 32

    public let publicKey: X25519PublicKey
    private let secret: SecretMemory

    /// Generate a new long-lived key.
    public convenience init() { self.init(protection: .guarded) }

    /// Generate a new key; one that lives for a handshake can do with plain memory.
    init(protection: SecretMemory.Protection) {
        let secret = SecretMemory(byteCount: Self.seedByteCount, protection: protection) { SecureRandom.fill($0) }
        self.publicKey = Self.publicKey(of: secret)
        self.secret = secret
    }

    /// Make the key of a seed of exactly 32 bytes, or nil.
    public init?(seed: some Collection<UInt8>) {
        guard seed.count == Self.seedByteCount else { return nil }
        let secret = SecretMemory(byteCount: Self.seedByteCount, protection: .guarded) { target in
            seed.withRawBytes { target.copyMemory(from: $0) }
        }
        self.publicKey = Self.publicKey(of: secret)
        self.secret = secret
    }

    private static func publicKey(of secret: SecretMemory) -> X25519PublicKey {
        X25519PublicKey(
            Bytes32 { target in
                secret.withBytes { _ = crypto_scalarmult_base(target.start, $0.start) }
            })
    }

    /// Write the secret shared with `peer` to 32 bytes of the caller's.
    ///
    /// - Returns: false if the result is all zero (the peer's key is of small order); it must not be used then. The time
    ///   taken is the same.
    func agree(with peer: X25519PublicKey, into output: UnsafeMutableRawBufferPointer) -> Bool {
        precondition(output.count == Int(crypto_scalarmult_BYTES))
        return self.secret.withBytes { secret in
            peer.bytes32.withUnsafeBytes { peer in
                crypto_scalarmult(output.start, secret.start, peer.start) == 0
            }
        }
    }

    /// Call `body` with the 32 secret bytes, for what needs the key itself (a key file).
    public func withSeed<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try self.secret.withBytes(body)
    }
}
