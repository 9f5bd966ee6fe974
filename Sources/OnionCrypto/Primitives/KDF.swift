import CSodium

/// Derive several keys from one 32-byte secret.
///
/// - Source: libsodium `crypto_kdf_derive_from_key`: BLAKE2b keyed with the secret, the number as salt, the context as
///   personalisation.
package enum KDF {
    package static let keyByteCount = 32
    /// One call gives 16 to 64 bytes.
    package static let outputByteCounts = 16...64

    /// Fill `output` with subkey number `id`. The context is 8 ASCII characters that name the use.
    package static func derive(
        into output: UnsafeMutableRawBufferPointer, id: UInt64, context: StaticString, from key: UnsafeRawBufferPointer
    ) {
        precondition(key.count == Self.keyByteCount && Self.outputByteCounts.contains(output.count))
        precondition(context.hasPointerRepresentation && context.utf8CodeUnitCount == 8)
        Sodium.start()
        let name = UnsafeRawPointer(context.utf8Start).assumingMemoryBound(to: CChar.self)
        _ = crypto_kdf_derive_from_key(output.start, output.count, id, name, key.start)
    }
}
