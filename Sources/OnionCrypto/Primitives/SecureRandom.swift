import CSodium

/// Random bytes fit for keys, from the operating system through libsodium.
public enum SecureRandom {
    /// Return `count` random bytes.
    public static func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { target, written in
            Self.fill(UnsafeMutableRawBufferPointer(target))
            written = count
        }
    }

    /// Overwrite the whole span with random bytes.
    public static func fill(_ span: inout MutableRawSpan) {
        span.withUnsafeMutableBytes { Self.fill($0) }
    }

    /// Return 32 random bytes that are not secret (a salt, a nonce).
    public static func bytes32() -> Bytes32 { Bytes32 { Self.fill($0) } }

    static func fill(_ bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        Sodium.start()
        randombytes_buf(base, bytes.count)
    }
}
