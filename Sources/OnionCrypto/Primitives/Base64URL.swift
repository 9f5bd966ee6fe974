import CSodium

/// Base64 with the URL alphabet and no padding (RFC 4648 §5), by libsodium's constant-time code.
public enum Base64URL {
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        Sodium.start()
        return bytes.withRawBytes { source in
            guard let base = source.baseAddress else { return "" }
            let capacity = sodium_base64_encoded_len(source.count, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
            return String(unsafeUninitializedCapacity: capacity) { target in
                guard let start = target.baseAddress else { return 0 }
                return start.withMemoryRebound(to: CChar.self, capacity: capacity) { characters in
                    _ = sodium_bin2base64(
                        characters, capacity, base, source.count, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
                    return capacity - 1  // The last one is C's terminating zero.
                }
            }
        }
    }

    /// Encode a secret: the characters in an array that the caller can wipe, as text cannot be.
    static func characters(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        Sodium.start()
        let capacity = sodium_base64_encoded_len(bytes.count, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
        return [UInt8](unsafeUninitializedCapacity: capacity) { target, count in
            guard let source = bytes.baseAddress, let start = target.baseAddress else { return }
            start.withMemoryRebound(to: CChar.self, capacity: capacity) {
                _ = sodium_bin2base64(
                    $0, capacity, source, bytes.count, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
            }
            count = capacity - 1  // The last one is C's terminating zero.
        }
    }

    /// Decode text that is wholly canonical: no padding, no white space, no stray bits at the end. Otherwise nil.
    public static func decode(_ text: String) -> [UInt8]? { Self.decode(text.utf8) }

    /// Decode characters where they lie, if they lie in one piece.
    static func decode(_ characters: some Collection<UInt8>) -> [UInt8]? {
        Sodium.start()
        guard !characters.isEmpty else { return [] }
        // libsodium takes some bytes that are not ASCII for letters. All are looked at, so that time tells nothing.
        guard characters.reduce(0, |) & 0x80 == 0 else { return nil }
        let capacity = characters.count  // More than the 3/4 of it that can be needed.
        var isValid = false
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { target, count in
            isValid = characters.withRawBytes { source in
                guard let base = source.baseAddress, let start = target.baseAddress else { return false }
                return sodium_base642bin(
                    start, capacity, base.assumingMemoryBound(to: CChar.self), source.count, nil, &count,
                    nil, sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0
            }
        }
        return isValid ? bytes : nil
    }
}
