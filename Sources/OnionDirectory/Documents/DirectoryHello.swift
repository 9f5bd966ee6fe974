import NIOCore
public import OnionCrypto

/// The directory server's first words on a connection: which TLS key is its own, said by the directory key.
///
///     offset  size  field
///     0       1     version: 1
///     1       32    the directory server's link key, Ed25519
///     33      8     expires, Unix seconds
///     41      64    signature by the directory key, kind `link`
///
/// - Source: DESIGN §9, first paragraph
public struct DirectoryHello: Hashable, Sendable {
    public let linkKey: Ed25519PublicKey
    /// Unix seconds.
    public let expires: UInt64
    /// Exactly what was received, signature included.
    public let bytes: [UInt8]

    public static let byteCount = 105
    static let documentVersion: UInt8 = 1

    /// Read a Hello and check the directory's signature.
    ///
    /// - Throws: ``DirectoryError``; ``DirectoryError/badSignature(_:)`` mostly means a wrong public key file.
    public init(verifying bytes: some Collection<UInt8>, directoryKey: Ed25519PublicKey) throws(DirectoryError) {
        try self.init(bytes, directoryKey: directoryKey, check: SignedDocument.ed25519)
    }

    init(
        _ bytes: some Collection<UInt8>, directoryKey: Ed25519PublicKey, check: SignatureCheck
    ) throws(DirectoryError) {
        guard bytes.count <= Self.byteCount else { throw .trailingBytes(bytes.count - Self.byteCount) }
        let bytes = Array(bytes)
        var body = try SignedDocument.body(of: bytes, kind: .link, key: directoryKey, check: check)
        let version = try body.readField(UInt8.self)
        guard version == Self.documentVersion else { throw .unsupportedVersion(version) }
        self.linkKey = try body.readSigningKey()
        self.expires = try body.readField()
        self.bytes = bytes
    }

    /// Sign a Hello.
    public static func make(
        linkKey: Ed25519PublicKey, expires: UInt64, signedBy key: Ed25519PrivateKey
    ) throws(DirectoryError) -> DirectoryHello {
        var body = ByteBuffer()
        body.writeInteger(Self.documentVersion)
        body.writeBytes32(linkKey.bytes32)
        body.writeInteger(expires)
        return try DirectoryHello(
            verifying: SignedDocument.signed(body, kind: .link, by: key), directoryKey: key.publicKey)
    }

    /// Check that the Hello is about the TLS peer and holds at `now`.
    ///
    /// - Throws: ``DirectoryError/wrongLinkKey``, ``DirectoryError/expired(validUntil:now:)``
    public func check(peer: Ed25519PublicKey, now: UInt64) throws(DirectoryError) {
        guard peer == self.linkKey else { throw .wrongLinkKey }
        guard now < self.expires else { throw .expired(validUntil: self.expires, now: now) }
    }
}
