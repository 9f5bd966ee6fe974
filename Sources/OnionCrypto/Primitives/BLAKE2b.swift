import CSodium

/// BLAKE2b with 32 bytes of output, with or without a key.
///
/// - Source: RFC 7693; libsodium `crypto_generichash`.
public enum BLAKE2b {
    /// The longest key there is.
    public static let maximumKeyByteCount = 64

    /// Hash `bytes` with an optional key of at most 64 bytes.
    public static func hash256(
        _ bytes: some Collection<UInt8>, key: some Collection<UInt8> = EmptyCollection<UInt8>()
    ) -> Bytes32 {
        var hasher = Hasher(key: key)
        hasher.update(bytes)
        return hasher.finalize()
    }

    /// The incremental form: the same hash over input that comes in pieces. Its state is wiped when dropped.
    public struct Hasher: ~Copyable, @unchecked Sendable {
        // Sendable: the type cannot be copied, so the state has one owner at a time. Upheld by the compiler.
        private let state: OpaquePointer
        private let storage: UnsafeMutableRawPointer

        /// Begin, with a key of at most 64 bytes (none by default).
        public init(key: some Collection<UInt8> = EmptyCollection<UInt8>()) {
            precondition(key.count <= BLAKE2b.maximumKeyByteCount, "a BLAKE2b key has at most 64 bytes")
            Sodium.start()
            self.storage = .allocate(byteCount: crypto_generichash_statebytes(), alignment: 64)
            self.state = OpaquePointer(self.storage)
            key.withRawBytes { key in
                _ = crypto_generichash_init(self.state, key.baseAddress, key.count, Bytes32.byteCount)
            }
        }

        deinit {
            sodium_memzero(self.storage, crypto_generichash_statebytes())
            self.storage.deallocate()
        }

        public mutating func update(_ bytes: some Collection<UInt8>) {
            bytes.withRawBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                _ = crypto_generichash_update(self.state, base, UInt64(bytes.count))
            }
        }

        /// End, and return the hash.
        public consuming func finalize() -> Bytes32 {
            Bytes32 { self.finalize(into: $0) }
        }

        /// Write the hash to 32 bytes of the caller's; for a hash that is itself a secret.
        mutating func finalize(into output: UnsafeMutableRawBufferPointer) {
            precondition(output.count == Bytes32.byteCount)
            _ = crypto_generichash_final(self.state, output.start, output.count)
        }
    }
}
