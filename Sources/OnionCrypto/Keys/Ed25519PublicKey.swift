import CSodium

/// The public half of an Ed25519 key: an identity, a directory key, or a link key.
///
/// Any 32 bytes make one. Whether they are a point that can sign anything shows when a signature is checked.
public struct Ed25519PublicKey: Hashable, Sendable {
    public static let byteCount = 32
    public static let signatureByteCount = 64

    /// The key itself, without an allocation.
    public let bytes32: Bytes32

    public init(_ bytes32: Bytes32) { self.bytes32 = bytes32 }

    /// Make one from exactly 32 bytes, or nil.
    public init?(rawBytes: some Collection<UInt8>) {
        guard let bytes = Bytes32(rawBytes) else { return nil }
        self.init(bytes)
    }

    /// Read a fingerprint as people see it: 43 characters of unpadded base64url. Otherwise nil.
    public init?(base64URL: String) {
        guard let bytes = Bytes32(base64URL: base64URL) else { return nil }
        self.init(bytes)
    }

    /// The 32 bytes as a new array.
    public var rawBytes: [UInt8] { self.bytes32.bytes }

    /// The fingerprint as people see it: 43 characters of unpadded base64url.
    public var base64URL: String { self.bytes32.base64URL }

    /// Say whether `signature` is this key's over `bytes` as a document of `kind`.
    public func isValidSignature(
        _ signature: some Collection<UInt8>, over bytes: some Collection<UInt8>, kind: SignedKind
    ) -> Bool {
        guard signature.count == Self.signatureByteCount else { return false }
        Sodium.start()
        let message = kind.prefix + bytes
        return signature.withRawBytes { signature in
            self.bytes32.withUnsafeBytes { key in
                crypto_sign_verify_detached(signature.start, message, UInt64(message.count), key.start)
                    == 0
            }
        }
    }
}

extension Ed25519PublicKey: Comparable {
    /// The order of the keys' bytes.
    public static func < (left: Ed25519PublicKey, right: Ed25519PublicKey) -> Bool { left.bytes32 < right.bytes32 }
}
