/// Why a circuit handshake came to nothing. Two cases only: a finer one would be an oracle to whoever may see it.
public enum HandshakeError: Error, Equatable, Sendable {
    /// The bytes have not the form of a handshake: too short, too long, unknown type, bad extension lengths. Depends on
    /// nothing secret.
    case malformed
    /// The form is right, and the handshake still does not hold: another identity or onion key, a key or ciphertext that
    /// cannot be decoded, an X25519 result of zero, an AUTH that does not verify.
    case rejected
}
