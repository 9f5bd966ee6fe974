import NIOCore
import OnionCrypto

/// Tells whether a signature over a document's body is good. Always ``SignedDocument/ed25519``, except where a fuzzer has to
/// reach the parser behind it: tests alone can give another.
typealias SignatureCheck = (
    _ key: Ed25519PublicKey, _ signature: ArraySlice<UInt8>, _ body: ArraySlice<UInt8>, _ kind: SignedKind
) -> Bool

/// What all signed documents have in common: a body, then 64 bytes of Ed25519 signature over exactly that body.
enum SignedDocument {
    /// The true check.
    static func ed25519(
        key: Ed25519PublicKey, signature: ArraySlice<UInt8>, body: ArraySlice<UInt8>, kind: SignedKind
    ) -> Bool {
        key.isValidSignature(signature, over: body, kind: kind)
    }

    /// Split `bytes` into body and signature and check the latter.
    ///
    /// - Throws: ``DirectoryError/limitExceeded(_:have:limit:)`` before anything is read, ``DirectoryError/truncated(need:have:)``,
    ///   ``DirectoryError/badSignature(_:)``.
    static func body(
        of bytes: [UInt8], kind: SignedKind, key: Ed25519PublicKey, check: SignatureCheck
    ) throws(DirectoryError) -> ByteBuffer {
        let body = try self.unverifiedBody(of: bytes)
        guard check(key, bytes[body.readableBytes...], bytes[..<body.readableBytes], kind) else {
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
