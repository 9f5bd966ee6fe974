import NIOCore
public import OnionAddress
public import OnionCrypto

/// The directory's signed list of running routers.
///
///     offset  size    field
///     0       1       version: 1
///     1       8       revision, at least 1
///     9       8       valid after, Unix seconds
///     17      8       fresh until
///     25      8       valid until; after <= fresh <= until, and until - after at most 1,000,000
///     33      …       network parameters, see ``NetworkParameters``
///     …       2       number of routers, at most 1024
///     …       …       routers, ascending by identity, each:
///                       2  length of the descriptor
///                       …  signed descriptor, see ``RouterDescriptor``
///                       1  flags: 1 guard, 2 exit, 4 fast, 8 stable
///                       8  weight, 1 … 2^40
///     …       64      signature by the directory key, kind `consensus`
///
/// - Source: DESIGN §9
public struct Consensus: Sendable {
    public let revision: UInt64
    public let validAfter: UInt64
    public let freshUntil: UInt64
    public let validUntil: UInt64
    public let parameters: NetworkParameters
    /// Ascending by identity.
    public let routers: [ConsensusRouter]
    /// BLAKE2b-256 of what is signed (all bytes but the signature); goes into the path seed.
    public let digest: Bytes32
    /// Exactly what was received, signature included.
    public let bytes: [UInt8]
    /// Which of them must not be on one path.
    let relations: RouterRelations
    private let indices: [Ed25519PublicKey: Int]

    static let documentVersion: UInt8 = 1

    /// Read a consensus, and check the directory's signature and that of every router.
    ///
    /// Whether it may be used now is another question: ``acceptance(after:now:)``.
    ///
    /// - Throws: ``DirectoryError``
    /// - Complexity: one signature check per router, about 36 µs.
    public init(verifying bytes: some Collection<UInt8>, directoryKey: Ed25519PublicKey) throws(DirectoryError) {
        try self.init(bytes, directoryKey: directoryKey, check: SignedDocument.ed25519)
    }

    init(
        _ bytes: some Collection<UInt8>, directoryKey: Ed25519PublicKey, check: SignatureCheck
    ) throws(DirectoryError) {
        let limit = DirectoryLimits.consensusByteCount
        guard bytes.count <= limit else { throw .limitExceeded(.consensus, have: bytes.count, limit: limit) }
        let bytes = Array(bytes)
        var body = try SignedDocument.body(of: bytes, kind: .consensus, key: directoryKey, check: check)
        self.digest = BLAKE2b.hash256(bytes[..<body.readableBytes])
        self.bytes = bytes

        let version = try body.readField(UInt8.self)
        guard version == Self.documentVersion else { throw .unsupportedVersion(version) }
        self.revision = try body.readField()
        guard self.revision >= 1 else { throw .invalidField(.revision) }
        self.validAfter = try body.readField()
        self.freshUntil = try body.readField()
        self.validUntil = try body.readField()
        guard self.validAfter <= self.freshUntil, self.freshUntil <= self.validUntil,
            self.validUntil - self.validAfter <= DirectoryLimits.validSeconds
        else { throw .invalidField(.times) }
        self.parameters = try NetworkParameters(from: &body)
        let count = Int(try body.readField(UInt16.self))
        guard count <= DirectoryLimits.routerCount else {
            throw .limitExceeded(.routers, have: count, limit: DirectoryLimits.routerCount)
        }
        var routers: [ConsensusRouter] = []
        for _ in 0..<count { routers.append(try Self.readRouter(from: &body, check: check)) }
        try body.expectEnd()
        guard routers.isStrictlyAscending(by: { $0.identity < $1.identity }) else { throw .notCanonical(.routers) }
        self.routers = routers
        self.indices = Dictionary(uniqueKeysWithValues: zip(routers.map(\.identity), routers.indices))
        self.relations = RouterRelations(
            routers, indices: self.indices, allowSameSubnet: self.parameters.allows(.allowSameSubnet))
    }

    /// Encode and sign; the routers are put in order, and the parameters written with all their values.
    ///
    /// - Throws: ``DirectoryError`` when a limit is passed, a router comes twice, or the times are not in order.
    public static func make(
        revision: UInt64, validAfter: UInt64, freshUntil: UInt64, validUntil: UInt64, parameters: NetworkParameters,
        routers: [ConsensusRouter], signedBy key: Ed25519PrivateKey
    ) throws(DirectoryError) -> Consensus {
        var body = ByteBuffer()
        body.writeMultipleIntegers(Self.documentVersion, revision, validAfter, freshUntil, validUntil)
        parameters.completed.write(to: &body)
        body.writeInteger(UInt16(truncatingIfNeeded: routers.count))
        for router in routers.sorted(by: { $0.identity < $1.identity }) { Self.write(router, to: &body) }
        return try Consensus(
            verifying: SignedDocument.signed(body, kind: .consensus, by: key), directoryKey: key.publicKey)
    }

    /// Return the running router of that identity, or nil.
    public func router(_ identity: Ed25519PublicKey) -> ConsensusRouter? {
        self.index(identity).map { self.routers[$0] }
    }

    /// Return the place of the router of that identity in ``routers``, or nil.
    func index(_ identity: Ed25519PublicKey) -> Int? { self.indices[identity] }

    /// Every address and port where a router listens; no exit connects to one of them.
    public var nodeEndpoints: Set<Endpoint> { Set(self.routers.lazy.flatMap(\.addresses)) }

    private static func readRouter(
        from body: inout ByteBuffer, check: SignatureCheck
    ) throws(DirectoryError) -> ConsensusRouter {
        let byteCount = Int(try body.readField(UInt16.self))
        guard byteCount <= DirectoryLimits.descriptorByteCount else {
            throw .limitExceeded(.descriptor, have: byteCount, limit: DirectoryLimits.descriptorByteCount)
        }
        let descriptor = try SignedDescriptor(body.readField(byteCount: byteCount), check: check)
        let flags = RouterFlags(rawValue: try body.readField())
        guard flags.isSubset(of: .known) else { throw .invalidField(.flags) }
        let weight = try body.readField(UInt64.self)
        guard (1...DirectoryLimits.weight).contains(weight) else { throw .invalidField(.weight) }
        return ConsensusRouter(descriptor: descriptor, flags: flags, weight: weight)
    }

    private static func write(_ router: ConsensusRouter, to body: inout ByteBuffer) {
        body.writeInteger(UInt16(truncatingIfNeeded: router.descriptor.bytes.count))
        body.writeBytes(router.descriptor.bytes)
        body.writeMultipleIntegers(router.flags.rawValue, router.weight)
    }
}

extension Consensus: Equatable {
    public static func == (left: Consensus, right: Consensus) -> Bool { left.bytes == right.bytes }
}

extension Consensus {
    /// Check whether this consensus may take the place of `previous` at `now`.
    ///
    /// In this order: the same revision with another digest is evidence whatever the time; then more than
    /// ``DirectoryLimits/clockSkewSeconds`` in the future, expired, an older revision. The very same document is accepted again.
    /// A previous one that expired ``DirectoryLimits/validSeconds`` ago is forgotten: of an honest directory all older ones expired
    /// before it, and a revision that was signed by mistake must not shut out all that come after.
    ///
    /// - Parameter now: Unix seconds.
    /// - Throws: ``DirectoryError/equivocation(revision:have:received:)``, ``DirectoryError/fromFuture(validAfter:now:)``,
    ///   ``DirectoryError/expired(validUntil:now:)``, ``DirectoryError/older(revision:have:)``
    /// - Source: DESIGN §9, *Consensus*
    public func acceptance(after previous: Consensus?, now: UInt64) throws(DirectoryError) {
        if let previous, previous.revision == self.revision, previous.digest != self.digest {
            throw .equivocation(revision: self.revision, have: previous.digest, received: self.digest)
        }
        let (latest, overflow) = now.addingReportingOverflow(DirectoryLimits.clockSkewSeconds)
        guard overflow || self.validAfter <= latest else { throw .fromFuture(validAfter: self.validAfter, now: now) }
        guard now < self.validUntil else { throw .expired(validUntil: self.validUntil, now: now) }
        if let previous, self.revision < previous.revision, previous.isRemembered(now: now) {
            throw .older(revision: self.revision, have: previous.revision)
        }
    }

    /// Whether `now` is too early for an older one to be let in.
    private func isRemembered(now: UInt64) -> Bool {
        let (end, overflow) = self.validUntil.addingReportingOverflow(DirectoryLimits.validSeconds)
        return overflow || now < end
    }

    /// Whether `now` is before the time at which a newer one should be had.
    public func isFresh(now: UInt64) -> Bool { now < self.freshUntil }
    /// Whether `now` is before the time after which it must not be used.
    public func isValid(now: UInt64) -> Bool { now < self.validUntil }
}
