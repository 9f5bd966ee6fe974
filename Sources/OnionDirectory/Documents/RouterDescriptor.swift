import NIOCore
public import OnionAddress
public import OnionCrypto

/// What an onion router says about itself. Its OR signs it; see ``SignedDescriptor``.
///
///     offset  size    field
///     0       1       version: 1
///     1       32      identity key, Ed25519
///     33      32      link key, Ed25519
///     65      32      onion key, X25519
///     97      8       onion key valid until, Unix seconds
///     105     8       published, Unix seconds
///     113     8       sequence
///     121     8       bandwidth rate, bytes a second; 0 is no limit
///     129     8       bandwidth burst, bytes; 0 is no limit
///     137     2       country: two letters A–Z, or two zero bytes
///     139     1 + 2n  protocol versions: count 1–8, each u16, ascending
///     …       1 + n   addresses: count 1–4, each type 4 or 6, address, port u16; preferred first, none twice
///     …       1 + n   nickname: length 1–32, letters, digits, "-", "_", "."
///     …       1 + n   software: length 0–64, printable ASCII
///     …       1 + n   contact: length 0–128, UTF-8 without control characters
///     …       1 + 32n family: count 0–8, identities, ascending, not its own
///     …       …       exit policy, see ``ExitPolicy``
///     …       64      signature by the identity key, kind `descriptor`
///
/// - Source: DESIGN §9
public struct RouterDescriptor: Equatable, Sendable {
    public var identity: Ed25519PublicKey
    public var linkKey: Ed25519PublicKey
    public var onionKey: X25519PublicKey
    /// Unix seconds.
    public var onionKeyValidUntil: UInt64
    /// Unix seconds.
    public var published: UInt64
    /// Goes up with each descriptor of this identity.
    public var sequence: UInt64
    /// Bytes a second; 0 is no limit.
    public var bandwidthRate: UInt64
    /// Bytes; 0 is no limit.
    public var bandwidthBurst: UInt64
    /// Two letters A–Z, or "".
    public var country: String
    /// Ascending.
    public var protocolVersions: [UInt16]
    /// Where the OR listens; preferred first.
    public var addresses: [Endpoint]
    public var nickname: String
    public var software: String
    public var contact: String
    /// Ascending. A family counts only where it is mutual.
    public var family: [Ed25519PublicKey]
    public var exitPolicy: ExitPolicy

    /// The protocol version of DESIGN: links `thor/1`, directory `thor-dir/1`.
    public static let currentProtocolVersion: UInt16 = 1
    /// Routers that a descriptor may name as its family.
    public static let familyLimit = DirectoryLimits.familyCount
    static let documentVersion: UInt8 = 1

    /// Make a descriptor; `family` is put in order, the country in capitals.
    public init(
        identity: Ed25519PublicKey, linkKey: Ed25519PublicKey, onionKey: X25519PublicKey, onionKeyValidUntil: UInt64,
        published: UInt64, sequence: UInt64, addresses: [Endpoint], nickname: String,
        exitPolicy: ExitPolicy = .rejectAll, country: String = "", family: [Ed25519PublicKey] = [],
        bandwidthRate: UInt64 = 0, bandwidthBurst: UInt64 = 0, software: String = "", contact: String = "",
        protocolVersions: [UInt16] = [RouterDescriptor.currentProtocolVersion]
    ) {
        self.identity = identity
        self.linkKey = linkKey
        self.onionKey = onionKey
        self.onionKeyValidUntil = onionKeyValidUntil
        self.published = published
        self.sequence = sequence
        self.bandwidthRate = bandwidthRate
        self.bandwidthBurst = bandwidthBurst
        self.country = country.uppercased()
        self.protocolVersions = protocolVersions
        self.addresses = addresses
        self.nickname = nickname
        self.software = software
        self.contact = contact
        self.family = Set(family).subtracting([identity]).sorted()
        self.exitPolicy = exitPolicy
    }

    /// Encode and sign.
    ///
    /// - Throws: ``DirectoryError`` when a field is not what the table above allows, or the whole passes
    ///   ``DirectoryLimits/descriptorByteCount``; ``DirectoryError/badSignature(_:)`` when `key` is not the identity's.
    public func signed(by key: Ed25519PrivateKey) throws(DirectoryError) -> SignedDescriptor {
        try self.validate()
        var body = ByteBuffer()
        self.write(to: &body)
        return try SignedDescriptor(verifying: SignedDocument.signed(body, kind: .descriptor, by: key))
    }

    /// Whether `text` can be a nickname; daemons ask before they start.
    public static func isValidNickname(_ text: String) -> Bool {
        let bytes = text.utf8
        return (1...DirectoryLimits.nicknameByteCount).contains(bytes.count)
            && bytes.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }

    /// Whether all of `text` can be printed in a terminal or a log line; a contact has to.
    public static func isPrintable(_ text: String) -> Bool { text.unicodeScalars.allSatisfy(\.isHarmless) }

    /// Whether `text` is "" or two letters A–Z.
    public static func isValidCountry(_ text: String) -> Bool {
        let bytes = text.utf8
        return bytes.isEmpty
            || bytes.count == 2 && bytes.allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
    }
}

extension RouterDescriptor {
    /// Check everything that the byte table says about values, and that reading alone does not.
    func validate() throws(DirectoryError) {
        guard Self.isValidCountry(self.country) else { throw .invalidField(.country) }
        guard Self.isValidNickname(self.nickname) else { throw .invalidField(.nickname) }
        try Self.check(self.protocolVersions.count, 1...DirectoryLimits.protocolVersionCount, .protocolVersions)
        try Self.check(self.addresses.count, 1...DirectoryLimits.addressCount, .addresses)
        try Self.check(self.family.count, 0...DirectoryLimits.familyCount, .family)
        try Self.check(self.software.utf8.count, 0...DirectoryLimits.softwareByteCount, .software)
        try Self.check(self.contact.utf8.count, 0...DirectoryLimits.contactByteCount, .contact)
        guard self.protocolVersions.isStrictlyAscending(by: <) else { throw .notCanonical(.protocolVersions) }
        guard self.family.isStrictlyAscending(by: <) else { throw .notCanonical(.family) }
        guard !self.family.contains(self.identity) else { throw .invalidField(.family) }
        guard Set(self.addresses).count == self.addresses.count else { throw .notCanonical(.addresses) }
        guard self.addresses.allSatisfy({ $0.port != 0 }) else { throw .invalidField(.port) }
        guard self.software.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) else { throw .invalidField(.software) }
        guard Self.isPrintable(self.contact) else { throw .invalidField(.contact) }
    }

    private static func check(_ count: Int, _ range: ClosedRange<Int>, _ field: DirectoryField) throws(DirectoryError) {
        guard count >= range.lowerBound else { throw .invalidField(field) }
        guard count <= range.upperBound else {
            throw .limitExceeded(field, have: count, limit: range.upperBound)
        }
    }

    func write(to buffer: inout ByteBuffer) {
        buffer.writeInteger(Self.documentVersion)
        buffer.writeBytes32(self.identity.bytes32)
        buffer.writeBytes32(self.linkKey.bytes32)
        buffer.writeBytes32(self.onionKey.bytes32)
        buffer.writeMultipleIntegers(
            self.onionKeyValidUntil, self.published, self.sequence, self.bandwidthRate, self.bandwidthBurst)
        buffer.writeBytes(self.country.isEmpty ? [0, 0] : Array(self.country.utf8))
        buffer.writeInteger(UInt8(truncatingIfNeeded: self.protocolVersions.count))
        for version in self.protocolVersions { buffer.writeInteger(version) }
        buffer.writeInteger(UInt8(truncatingIfNeeded: self.addresses.count))
        for address in self.addresses { buffer.writeEndpoint(address) }
        buffer.writeText(self.nickname)
        buffer.writeText(self.software)
        buffer.writeText(self.contact)
        buffer.writeInteger(UInt8(truncatingIfNeeded: self.family.count))
        for member in self.family { buffer.writeBytes32(member.bytes32) }
        self.exitPolicy.write(to: &buffer)
    }

    /// Read a whole body, which ends with the exit policy.
    init(body: ByteBuffer) throws(DirectoryError) {
        var body = body
        let version = try body.readField(UInt8.self)
        guard version == Self.documentVersion else { throw .unsupportedVersion(version) }
        self.identity = try body.readSigningKey()
        self.linkKey = try body.readSigningKey()
        self.onionKey = X25519PublicKey(try body.readBytes32())
        self.onionKeyValidUntil = try body.readField()
        self.published = try body.readField()
        self.sequence = try body.readField()
        self.bandwidthRate = try body.readField()
        self.bandwidthBurst = try body.readField()
        let country = try body.readField(byteCount: 2)
        self.country = country == [0, 0] ? "" : String(decoding: country, as: UTF8.self)
        self.protocolVersions = []
        for _ in 0..<(try body.readCount(.protocolVersions, limit: DirectoryLimits.protocolVersionCount)) {
            self.protocolVersions.append(try body.readField())
        }
        self.addresses = []
        for _ in 0..<(try body.readCount(.addresses, limit: DirectoryLimits.addressCount)) {
            self.addresses.append(try body.readNodeEndpoint())
        }
        self.nickname = try body.readText(.nickname, limit: DirectoryLimits.nicknameByteCount)
        self.software = try body.readText(.software, limit: DirectoryLimits.softwareByteCount)
        self.contact = try body.readText(.contact, limit: DirectoryLimits.contactByteCount)
        self.family = []
        for _ in 0..<(try body.readCount(.family, limit: DirectoryLimits.familyCount)) {
            self.family.append(try body.readSigningKey())
        }
        self.exitPolicy = try ExitPolicy(from: &body)
        try body.expectEnd()
        try self.validate()
    }

    /// Return the identity in a body whose signature has yet to be checked with it.
    static func identity(inBody body: ByteBuffer) throws(DirectoryError) -> Ed25519PublicKey {
        var body = body
        let version = try body.readField(UInt8.self)
        guard version == Self.documentVersion else { throw .unsupportedVersion(version) }
        return try body.readSigningKey()
    }
}

extension Unicode.Scalar {
    /// Whether it can be printed in a terminal or a log line without moving anything else.
    fileprivate var isHarmless: Bool {
        switch self.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }
}
