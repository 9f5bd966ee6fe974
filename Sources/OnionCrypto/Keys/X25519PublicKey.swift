/// The public half of an X25519 key: an onion key, or one end of a handshake.
///
/// Any 32 bytes make one. Those with which no secret can be agreed are refused when that is tried.
public struct X25519PublicKey: Hashable, Sendable {
    public static let byteCount = 32

    /// The key itself, without an allocation.
    public let bytes32: Bytes32

    public init(_ bytes32: Bytes32) { self.bytes32 = bytes32 }

    /// Make one from exactly 32 bytes, or nil.
    public init?(rawBytes: some Collection<UInt8>) {
        guard let bytes = Bytes32(rawBytes) else { return nil }
        self.init(bytes)
    }

    /// Read 43 characters of unpadded base64url. Otherwise nil.
    public init?(base64URL: String) {
        guard let bytes = Bytes32(base64URL: base64URL) else { return nil }
        self.init(bytes)
    }

    /// The 32 bytes as a new array.
    public var rawBytes: [UInt8] { self.bytes32.bytes }

    /// 43 characters of unpadded base64url.
    public var base64URL: String { self.bytes32.base64URL }
}

extension X25519PublicKey: Comparable {
    /// The order of the keys' bytes.
    public static func < (left: X25519PublicKey, right: X25519PublicKey) -> Bool { left.bytes32 < right.bytes32 }
}
