import Crypto

extension CircuitHandshake {
    /// The router's half: answers a Create. A value without state; any number of threads may use it at once.
    public struct Server: Sendable {
        private let identity: Ed25519PublicKey
        private let onionKeys: [X25519PrivateKey]

        /// - Parameter onionKeys: those that are accepted: the current one first, then the one before.
        public init(identity: Ed25519PublicKey, onionKeys: [X25519PrivateKey]) {
            self.identity = identity
            self.onionKeys = onionKeys
        }

        /// Answer a Create with a Created, and return the keys.
        ///
        /// Takes about 0.2 ms: call it off the event loops.
        ///
        /// - Parameter create: exactly the bytes of the Create.
        /// - Throws: `.malformed` if the lengths, type or extensions are wrong, `.rejected` for all else.
        public func respond(to create: [UInt8]) throws(HandshakeError) -> (created: [UInt8], keys: CircuitKeys) {
            let onionKey = try self.onionKey(for: create)
            guard
                let key = try? MLKEM768.PublicKey(rawRepresentation: create[CreateLayout.encapsulationKey]),
                let encapsulation = try? key.encapsulate()
            else { throw .rejected }
            let secret = SecretMemory(byteCount: SharedSecrets.kem.count, protection: .plain) { target in
                encapsulation.sharedSecret.withUnsafeBytes { target.copyMemory(from: $0) }
            }
            return try Self.respond(
                to: create, onionKey: onionKey, ephemeral: X25519PrivateKey(protection: .plain),
                ciphertext: [UInt8](encapsulation.encapsulated), kemSecret: secret)
        }

        /// Answer a Create with chosen secrets: a test vector's.
        ///
        /// swift-crypto takes no randomness for encapsulation, so its outcome comes in as well.
        package func respond(
            to create: [UInt8], ephemeral: X25519PrivateKey, ciphertext: [UInt8], kemSecret: [UInt8]
        ) throws(HandshakeError) -> (created: [UInt8], keys: CircuitKeys) {
            guard ciphertext.count == CreatedLayout.ciphertext.count, kemSecret.count == SharedSecrets.kem.count else {
                throw .malformed
            }
            let onionKey = try self.onionKey(for: create)
            let secret = SecretMemory(byteCount: kemSecret.count, protection: .plain) { $0.copyBytes(from: kemSecret) }
            return try Self.respond(
                to: create, onionKey: onionKey, ephemeral: ephemeral, ciphertext: ciphertext, kemSecret: secret)
        }

        /// Check the form of a Create and whom it is for, and return the onion key that it names.
        private func onionKey(for create: [UInt8]) throws(HandshakeError) -> X25519PrivateKey {
            guard try CircuitHandshake.createByteCount(prefixOf: create) == create.count else { throw .malformed }
            try CircuitHandshake.checkExtensions(create[CreateLayout.extensions])
            // Both are public: comparing them may take any time.
            guard Ed25519PublicKey(rawBytes: create[CreateLayout.identity]) == self.identity,
                let named = X25519PublicKey(rawBytes: create[CreateLayout.onionKey]),
                let onionKey = self.onionKeys.first(where: { $0.publicKey == named })
            else { throw .rejected }
            return onionKey
        }

        private static func respond(
            to create: [UInt8], onionKey: X25519PrivateKey, ephemeral: X25519PrivateKey, ciphertext: [UInt8],
            kemSecret: SecretMemory
        ) throws(HandshakeError) -> (created: [UInt8], keys: CircuitKeys) {
            guard let clientKey = X25519PublicKey(rawBytes: create[CreateLayout.ephemeral]) else { throw .malformed }
            var isGood = true
            let shared = SecretMemory(byteCount: SharedSecrets.byteCount, protection: .plain) { target in
                func part(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer { .init(rebasing: target[range]) }
                isGood = ephemeral.agree(with: clientKey, into: part(SharedSecrets.ephemeral)) && isGood
                isGood = onionKey.agree(with: clientKey, into: part(SharedSecrets.onion)) && isGood
                kemSecret.withBytes { part(SharedSecrets.kem).copyMemory(from: $0) }
            }
            guard isGood else { throw .rejected }
            var created: [UInt8] = []
            created.reserveCapacity(CircuitHandshake.createdByteCount)
            created += ephemeral.publicKey.rawBytes
            created += ciphertext
            created += [0, 0]
            let (auth, keys) = CircuitHandshake.derive(
                shared: shared, create: create, createdWithoutAuth: created[...])
            created += auth.bytes
            return (created, keys)
        }
    }
}
