import NIOCore
import OnionAddress
import OnionCrypto

@testable import OnionDirectory

/// The body of a router's descriptor. What is accepted is canonical; one input in 64 is also signed and read whole.
enum FuzzDescriptor {
    /// Returns whether the bytes are a descriptor.
    static func feed(_ bytes: [UInt8]) -> Bool {
        let body = ByteBuffer(bytes: bytes)
        let descriptor = try? RouterDescriptor(body: body)
        if let descriptor {
            var again = ByteBuffer()
            descriptor.write(to: &again)
            precondition(again == body, "two encodings of one descriptor")
        }
        // Signatures take a hundred times as long as what is looked for here.
        if bytes.reduce(0, { $0 &+ Int($1) }) % 64 == 0 { Self.feedSigned(bytes) }
        return descriptor != nil
    }

    private static func feedSigned(_ bytes: [UInt8]) {
        _ = try? SignedDescriptor(verifying: bytes)
        // The descriptor of a key that can sign here.
        var bytes = bytes
        if bytes.count >= 33 { bytes.replaceSubrange(1..<33, with: Self.key.publicKey.rawBytes) }
        let signed = SignedDocument.signed(ByteBuffer(bytes: bytes), kind: .descriptor, by: Self.key)
        let read = try? SignedDescriptor(verifying: signed)
        let isTooLong = signed.count > DirectoryLimits.descriptorByteCount
        let expected = isTooLong ? nil : try? RouterDescriptor(body: ByteBuffer(bytes: bytes))
        precondition(read?.descriptor == expected, "a signed descriptor is read in another way")
    }

    static let key: Ed25519PrivateKey = {
        guard let key = Ed25519PrivateKey(seed: [UInt8](repeating: 7, count: 32)) else { fatalError("no key") }
        return key
    }()

    static var seeds: [[UInt8]] {
        func key(_ number: UInt8) -> Ed25519PublicKey {
            Ed25519PublicKey(Bytes32([UInt8](repeating: number, count: 32)) ?? .zero)
        }
        func descriptor(_ addresses: [String], policy: [String]) -> RouterDescriptor {
            RouterDescriptor(
                identity: Self.key.publicKey, linkKey: key(1), onionKey: X25519PublicKey(key(2).bytes32),
                onionKeyValidUntil: 1_795_604_800, published: 1_795_000_000, sequence: 3,
                addresses: addresses.compactMap { Endpoint($0) }, nickname: "amber",
                exitPolicy: (try? ExitPolicy(parsing: policy)) ?? .rejectAll)
        }
        let small = descriptor(["5.6.7.8:9001"], policy: [])
        var full = descriptor(
            ["5.6.7.8:9001", "[2a00:1::1]:9001", "5.6.7.9:443"],
            policy: [
                "reject *:25", "reject 192.0.2.0/24:*", "accept [2001:db8::]/32:80-443", "accept 5.6.7.8:1-65535",
                "accept *:*",
            ])
        full.country = "SE"
        full.family = [key(4), key(5)].sorted()
        full.bandwidthRate = 1_000_000
        full.bandwidthBurst = .max
        full.software = "thor 0.1"
        full.contact = "opérateur <ops@example.org>"
        full.protocolVersions = [1, 2, 65_535]
        return [small, full].map { descriptor in
            var body = ByteBuffer()
            descriptor.write(to: &body)
            return Array(buffer: body)
        }
    }
}
