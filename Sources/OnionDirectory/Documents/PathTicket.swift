import NIOCore
public import OnionCrypto

/// The directory's half of a path assignment: a salt for the secret that the client committed to.
///
///     offset  size  field
///     0       1     version: 1
///     1       32    commitment: BLAKE2b-256 of the client's secret
///     33      32    salt
///     65      8     expires, Unix seconds
///     73      64    signature by the directory key, kind `ticket`
///
/// - Source: DESIGN §9, *Path assignment*
public struct PathTicket: Hashable, Sendable {
    public let commitment: Bytes32
    public let salt: Bytes32
    /// Unix seconds.
    public let expires: UInt64
    /// Exactly what was received, signature included.
    public let bytes: [UInt8]

    public static let byteCount = 137
    static let documentVersion: UInt8 = 1

    /// Read a ticket and check the directory's signature. Time and commitment are checked by ``check(commitment:now:)``.
    ///
    /// - Throws: ``DirectoryError``
    public init(verifying bytes: some Collection<UInt8>, directoryKey: Ed25519PublicKey) throws(DirectoryError) {
        try self.init(bytes, directoryKey: directoryKey, check: SignedDocument.ed25519)
    }

    init(
        _ bytes: some Collection<UInt8>, directoryKey: Ed25519PublicKey, check: SignatureCheck
    ) throws(DirectoryError) {
        guard bytes.count <= Self.byteCount else { throw .trailingBytes(bytes.count - Self.byteCount) }
        let bytes = Array(bytes)
        var body = try SignedDocument.body(of: bytes, kind: .ticket, key: directoryKey, check: check)
        let version = try body.readField(UInt8.self)
        guard version == Self.documentVersion else { throw .unsupportedVersion(version) }
        self.commitment = try body.readBytes32()
        self.salt = try body.readBytes32()
        self.expires = try body.readField()
        self.bytes = bytes
    }

    /// Sign a ticket.
    public static func make(
        commitment: Bytes32, salt: Bytes32, expires: UInt64, signedBy key: Ed25519PrivateKey
    ) throws(DirectoryError) -> PathTicket {
        var body = ByteBuffer()
        body.writeInteger(Self.documentVersion)
        body.writeBytes32(commitment)
        body.writeBytes32(salt)
        body.writeInteger(expires)
        return try PathTicket(
            verifying: SignedDocument.signed(body, kind: .ticket, by: key), directoryKey: key.publicKey)
    }

    /// Check that the ticket answers `commitment` and holds at `now`.
    ///
    /// - Throws: ``DirectoryError/invalidField(_:)`` for another's ticket, ``DirectoryError/expired(validUntil:now:)``.
    public func check(commitment: Bytes32, now: UInt64) throws(DirectoryError) {
        guard self.commitment == commitment else { throw .invalidField(.identity) }
        guard now < self.expires else { throw .expired(validUntil: self.expires, now: now) }
    }
}
