import CSodium

extension CircuitHandshake {
    static let protocolID = Array("thor-ntor-x25519-mlkem768-1".utf8)
    private static let verifyKey = protocolID + Array(":verify".utf8)
    private static let seedKey = protocolID + Array(":seed".utf8)
    private static let serverSuffix = Array("server".utf8)

    /// Where the three shared secrets lie in the memory that both ends fill.
    enum SharedSecrets {
        static let byteCount = 96
        /// X25519(x, Y)
        static let ephemeral = 0..<32
        /// X25519(x, B)
        static let onion = 32..<64
        /// The shared secret of ML-KEM
        static let kem = 64..<96
    }

    /// Derive AUTH and the keys from the shared secrets and the transcript, the same way at both ends.
    ///
    /// - Parameters:
    ///   - shared: X25519(x,Y) | X25519(x,B) | ss.
    ///   - create: the whole Create.
    ///   - createdWithoutAuth: the Created up to its AUTH.
    /// - Source: DESIGN §6.1, *both*.
    static func derive(
        shared: SecretMemory, create: [UInt8], createdWithoutAuth: ArraySlice<UInt8>
    ) -> (auth: Bytes32, keys: CircuitKeys) {
        precondition(shared.byteCount == SharedSecrets.byteCount)
        let transcript = Self.protocolID + create + createdWithoutAuth

        func hashOfSecret(key: [UInt8]) -> SecretMemory {
            SecretMemory(byteCount: Bytes32.byteCount, protection: .plain) { output in
                var hasher = BLAKE2b.Hasher(key: key)
                shared.withBytes { hasher.update($0) }
                hasher.update(transcript)
                hasher.finalize(into: output)
            }
        }

        let auth = hashOfSecret(key: Self.verifyKey).withBytes { verify in
            BLAKE2b.hash256(transcript + Self.serverSuffix, key: verify)
        }
        let keys = hashOfSecret(key: Self.seedKey).withBytes { seed in
            SecretMemory(byteCount: CircuitKeys.byteCount, protection: .plain) { output in
                for (id, range) in [(UInt64(1), 0..<64), (2, 64..<128)] {
                    KDF.derive(
                        into: UnsafeMutableRawBufferPointer(rebasing: output[range]), id: id, context: "thorcirc",
                        from: seed)
                }
                // The length is an input of the KDF: the last 32 bytes are the first half of 64.
                withUnsafeTemporaryAllocation(byteCount: 64, alignment: 16) { last in
                    KDF.derive(into: last, id: 3, context: "thorcirc", from: seed)
                    UnsafeMutableRawBufferPointer(rebasing: output[128...])
                        .copyMemory(from: UnsafeRawBufferPointer(rebasing: last[..<32]))
                    Sodium.wipe(last)
                }
            }
        }
        return (auth, CircuitKeys(secret: keys))
    }
}
