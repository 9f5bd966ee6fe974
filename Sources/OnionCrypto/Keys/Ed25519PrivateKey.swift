import CSodium

/// An Ed25519 key that signs. The secret lies in guarded memory and is wiped when dropped.
///
/// There is no way to sign bytes without saying what kind of document they are (DESIGN §4).
public final class Ed25519PrivateKey: Sendable {
    public static let seedByteCount = 32

    public let publicKey: Ed25519PublicKey
    /// As libsodium keeps it: seed (32) | public key (32).
    private let secret: SecretMemory

    /// Generate a new key.
    public init() {
        (self.secret, self.publicKey) = Self.make { secret, publicKey in
            _ = crypto_sign_keypair(publicKey.start, secret.start)
        }
    }

    /// Make the key of a seed of exactly 32 bytes, or nil.
    public init?(seed: some Collection<UInt8>) {
        guard seed.count == Self.seedByteCount else { return nil }
        (self.secret, self.publicKey) = seed.withRawBytes { seed in
            Self.make { secret, publicKey in
                _ = crypto_sign_seed_keypair(publicKey.start, secret.start, seed.start)
            }
        }
    }

    private static func make(
        _ fill: (UnsafeMutableRawBufferPointer, UnsafeMutableRawBufferPointer) -> Void
    ) -> (SecretMemory, Ed25519PublicKey) {
        var publicKey = Bytes32.zero
        let secret = SecretMemory(byteCount: Int(crypto_sign_SECRETKEYBYTES), protection: .guarded) { secret in
            publicKey = Bytes32 { fill(secret, $0) }
        }
        return (secret, Ed25519PublicKey(publicKey))
    }

    /// Sign `bytes` as a document of `kind`; 64 bytes.
    public func signature(over bytes: some Collection<UInt8>, kind: SignedKind) -> [UInt8] {
        let message = kind.prefix + bytes
        return [UInt8](unsafeUninitializedCapacity: Ed25519PublicKey.signatureByteCount) { target, count in
            guard let start = target.baseAddress else { return }
            self.secret.withBytes { secret in
                _ = crypto_sign_detached(
                    start, nil, message, UInt64(message.count), secret.start)
            }
            count = Ed25519PublicKey.signatureByteCount
        }
    }

    /// Call `body` with the 32 secret bytes, for what needs the key itself (a key file, a TLS context).
    public func withSeed<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try self.secret.withBytes { try body(UnsafeRawBufferPointer(rebasing: $0[..<Self.seedByteCount])) }
    }
}
