import Crypto

extension CircuitHandshake {
    /// The client's half: makes the Create, and turns the router's Created into keys.
    ///
    /// swift-crypto wipes neither its ML-KEM keys nor its copy of their shared secret; the rest is wiped when dropped.
    public struct Client: Sendable {
        private let onionKey: X25519PublicKey
        private let ephemeral: X25519PrivateKey
        private let decapsulationKey: MLKEM768.PrivateKey

        /// The whole Create, without extensions.
        public let create: [UInt8]

        /// Begin a handshake with the router of this identity and onion key.
        public init(identity: Ed25519PublicKey, onionKey: X25519PublicKey) {
            guard let decapsulationKey = try? MLKEM768.PrivateKey() else {
                fatalError("ML-KEM key generation failed: out of memory")
            }
            self.init(
                identity: identity, onionKey: onionKey, ephemeral: X25519PrivateKey(protection: .plain),
                decapsulationKey: decapsulationKey)
        }

        /// Begin a handshake with chosen secrets: a test vector's.
        ///
        /// - Parameter kemSeed: the 64 bytes d | z of ML-KEM key generation.
        /// - Throws: if the seed has another length.
        package init(
            identity: Ed25519PublicKey, onionKey: X25519PublicKey, ephemeral: X25519PrivateKey, kemSeed: [UInt8]
        ) throws {
            self.init(
                identity: identity, onionKey: onionKey, ephemeral: ephemeral,
                decapsulationKey: try MLKEM768.PrivateKey(seedRepresentation: kemSeed, publicKey: nil))
        }

        private init(
            identity: Ed25519PublicKey, onionKey: X25519PublicKey, ephemeral: X25519PrivateKey,
            decapsulationKey: MLKEM768.PrivateKey
        ) {
            self.onionKey = onionKey
            self.ephemeral = ephemeral
            self.decapsulationKey = decapsulationKey
            var create: [UInt8] = []
            create.reserveCapacity(CircuitHandshake.createByteCount)
            create += [0, UInt8(CreateLayout.typeValue)]
            create += identity.rawBytes
            create += onionKey.rawBytes
            create += ephemeral.publicKey.rawBytes
            create += decapsulationKey.publicKey.rawRepresentation
            create += [0, 0]
            self.create = create
        }

        /// Check the router's Created and derive the keys.
        ///
        /// Everything is computed before anything is refused, so that time does not tell one refusal from another.
        ///
        /// - Parameter created: exactly the bytes of the Created.
        /// - Throws: `.malformed` if the lengths or extensions are wrong, `.rejected` for all else.
        public func complete(created: [UInt8]) throws(HandshakeError) -> CircuitKeys {
            guard try CircuitHandshake.createdByteCount(prefixOf: created) == created.count else { throw .malformed }
            let withoutAuth = created.dropLast(CreatedLayout.authByteCount)
            try CircuitHandshake.checkExtensions(withoutAuth[CreatedLayout.extensionsStart...])
            guard let serverKey = X25519PublicKey(rawBytes: created[CreatedLayout.ephemeral]) else { throw .malformed }

            var isGood = true
            let shared = SecretMemory(byteCount: SharedSecrets.byteCount, protection: .plain) { target in
                func part(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer { .init(rebasing: target[range]) }
                isGood = self.ephemeral.agree(with: serverKey, into: part(SharedSecrets.ephemeral)) && isGood
                isGood = self.ephemeral.agree(with: self.onionKey, into: part(SharedSecrets.onion)) && isGood
                guard let secret = try? self.decapsulationKey.decapsulate(created[CreatedLayout.ciphertext]) else {
                    isGood = false
                    return
                }
                secret.withUnsafeBytes { part(SharedSecrets.kem).copyMemory(from: $0) }
            }
            let (auth, keys) = CircuitHandshake.derive(
                shared: shared, create: self.create, createdWithoutAuth: withoutAuth)
            let isAuthentic = auth.withUnsafeBytes { expected in
                created.suffix(CreatedLayout.authByteCount).withRawBytes { Sodium.areEqual(expected, $0) }
            }
            guard isAuthentic && isGood else { throw .rejected }
            return keys
        }
    }
}
