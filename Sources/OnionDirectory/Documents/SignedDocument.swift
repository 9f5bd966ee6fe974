import NIOCore
import OnionCrypto

/// What all signed documents have in common: a body, then 64 bytes of Ed25519 signature over exactly that body.
enum SignedDocument {
    /// Split `bytes` into body and signature and check the latter.
    ///
    /// - Throws: ``DirectoryError/limitExceeded(_:have:limit:)`` before anything is read, ``DirectoryError/truncated(need:have:)``,
    ///   ``DirectoryError/badSignature(_:)``.
    static func body(
        of bytes: [UInt8], kind: SignedKind, key: Ed25519PublicKey
    ) throws(DirectoryError) -> ByteBuffer {
        let body = try self.unverifiedBody(of: bytes)
        guard key.isValidSignature(bytes[body.readableBytes...], over: bytes[..<body.readableBytes], kind: kind) else {
            throw .badSignature(kind)
        }
        return body
    }

    /// Return what is before the signature, not yet to be believed.
    static func unverifiedBody(of bytes: [UInt8]) throws(DirectoryError) -> ByteBuffer {
        let signatureByteCount = Ed25519PublicKey.signatureByteCount
        guard bytes.count > signatureByteCount else {
            throw .truncated(need: signatureByteCount + 1, have: bytes.count)
        }
        return ByteBuffer(bytes: bytes.dropLast(signatureByteCount))
    }

    /// Return the body's bytes with the signature behind them.
    static func signed(_ body: ByteBuffer, kind: SignedKind, by key: Ed25519PrivateKey) -> [UInt8] {
        let bytes = Array(body.readableBytesView)
        return bytes + key.signature(over: bytes, kind: kind)
    }
}
