import CSodium

/// A 32-byte seed encrypted with a passphrase: Argon2id, then secretbox (XSalsa20-Poly1305).
///
/// The secretbox key is `BLAKE2b-256(key = Argon2id(passphrase, salt), context)`, so that the file's first line cannot be
/// exchanged either.
struct PassphraseBox {
    static let seedByteCount = 32

    /// What one guess at the passphrase costs.
    struct Cost: Equatable {
        let passes: UInt64
        let memoryKiB: UInt64

        /// libsodium's *moderate*: 3 passes over 256 MiB, most of a second.
        static let normal = Cost(
            passes: UInt64(crypto_pwhash_argon2id_OPSLIMIT_MODERATE),
            memoryKiB: UInt64(crypto_pwhash_argon2id_MEMLIMIT_MODERATE) / 1024)
        /// The least there is: for tests.
        static let least = Cost(passes: 1, memoryKiB: 8)

        /// A file may ask for no more than this, so that a hostile one cannot hold up the program.
        private static let passesLimits: ClosedRange<UInt64> = 1...16
        private static let memoryKiBLimits: ClosedRange<UInt64> = 8...(1 << 20)

        var isAllowed: Bool {
            Self.passesLimits.contains(self.passes) && Self.memoryKiBLimits.contains(self.memoryKiB)
        }
    }

    enum Outcome {
        case opened(SecretMemory)
        /// Another passphrase, or an altered file: nobody can tell which.
        case refused
        case outOfMemory
    }

    private static let saltByteCount = Int(crypto_pwhash_argon2id_SALTBYTES)
    private static let nonceByteCount = Int(crypto_secretbox_NONCEBYTES)
    private static let sealedByteCount = nonceByteCount + Int(crypto_secretbox_MACBYTES) + seedByteCount
    private static let algorithmName = "argon2id"

    let cost: Cost
    let salt: [UInt8]
    /// nonce (24) | MAC (16) | seed (32)
    let sealed: [UInt8]

    /// Encrypt a seed; nil if there is not memory enough.
    init?(sealing seed: SecretMemory, passphrase: [UInt8], cost: Cost, context: String) {
        self.cost = cost
        self.salt = SecureRandom.bytes(Self.saltByteCount)
        let nonce = SecureRandom.bytes(Self.nonceByteCount)
        guard let key = Self.key(passphrase: passphrase, salt: self.salt, cost: cost, context: context) else {
            return nil
        }
        var box = [UInt8](repeating: 0, count: Self.sealedByteCount - Self.nonceByteCount)
        seed.withBytes { seed in
            key.withBytes { key in
                _ = crypto_secretbox_easy(&box, seed.start, UInt64(seed.count), nonce, key.start)
            }
        }
        self.sealed = nonce + box
    }

    /// Read the parameters of a file; nil if they are not sane.
    init?(parameterLine: String, sealed: [UInt8]) {
        let words = parameterLine.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 4, words[0] == Self.algorithmName, let passes = UInt64(words[1]),
            let memoryKiB = UInt64(words[2]), let salt = Base64URL.decode(String(words[3])),
            salt.count == Self.saltByteCount, sealed.count == Self.sealedByteCount
        else { return nil }
        let cost = Cost(passes: passes, memoryKiB: memoryKiB)
        guard cost.isAllowed else { return nil }
        self.cost = cost
        self.salt = salt
        self.sealed = sealed
    }

    var parameterLine: String {
        "\(Self.algorithmName) \(self.cost.passes) \(self.cost.memoryKiB) \(Base64URL.encode(self.salt))"
    }

    func open(passphrase: [UInt8], context: String) -> Outcome {
        guard let key = Self.key(passphrase: passphrase, salt: self.salt, cost: self.cost, context: context) else {
            return .outOfMemory
        }
        let nonce = Array(self.sealed.prefix(Self.nonceByteCount))
        let box = Array(self.sealed.dropFirst(Self.nonceByteCount))
        var isOpened = false
        let seed = SecretMemory(byteCount: Self.seedByteCount, protection: .plain) { seed in
            isOpened = key.withBytes { key in
                crypto_secretbox_open_easy(seed.start, box, UInt64(box.count), nonce, key.start) == 0
            }
        }
        return isOpened ? .opened(seed) : .refused
    }

    private static func key(passphrase: [UInt8], salt: [UInt8], cost: Cost, context: String) -> SecretMemory? {
        var isDerived = false
        let stretched = SecretMemory(byteCount: Bytes32.byteCount, protection: .plain) { target in
            isDerived = passphrase.withUnsafeBytes { passphrase in
                crypto_pwhash_argon2id(
                    target.start, UInt64(target.count), passphrase.start.assumingMemoryBound(to: CChar.self),
                    UInt64(passphrase.count), salt, cost.passes, Int(cost.memoryKiB) * 1024,
                    crypto_pwhash_argon2id_ALG_ARGON2ID13) == 0
            }
        }
        guard isDerived else { return nil }
        return stretched.withBytes { stretched in
            SecretMemory(byteCount: Bytes32.byteCount, protection: .plain) { target in
                var hasher = BLAKE2b.Hasher(key: stretched)
                hasher.update(context.utf8)
                hasher.finalize(into: target)
            }
        }
    }
}
