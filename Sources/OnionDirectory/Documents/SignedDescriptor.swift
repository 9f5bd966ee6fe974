public import OnionCrypto

/// A router's descriptor whose signature has been checked, with exactly the bytes that were signed.
public struct SignedDescriptor: Hashable, Sendable {
    public let descriptor: RouterDescriptor
    /// Body and signature as received; what is stored, published and compared.
    public let bytes: [UInt8]

    /// Read a descriptor and check that its own identity key signed it.
    ///
    /// - Throws: ``DirectoryError``
    public init(verifying bytes: some Collection<UInt8>) throws(DirectoryError) {
        try self.init(bytes, check: SignedDocument.ed25519)
    }

    init(_ bytes: some Collection<UInt8>, check: SignatureCheck) throws(DirectoryError) {
        let limit = DirectoryLimits.descriptorByteCount
        guard bytes.count <= limit else { throw .limitExceeded(.descriptor, have: bytes.count, limit: limit) }
        let bytes = Array(bytes)
        let identity = try RouterDescriptor.identity(inBody: SignedDocument.unverifiedBody(of: bytes))
        let body = try SignedDocument.body(of: bytes, kind: .descriptor, key: identity, check: check)
        self.descriptor = try RouterDescriptor(body: body)
        self.bytes = bytes
    }

    public var identity: Ed25519PublicKey { self.descriptor.identity }

    public static func == (left: SignedDescriptor, right: SignedDescriptor) -> Bool { left.bytes == right.bytes }
    public func hash(into hasher: inout Hasher) { hasher.combine(self.bytes) }
}
