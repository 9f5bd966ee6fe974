import NIOCore
import OnionAddress
import OnionCrypto

@testable import OnionDirectory

/// The body of a consensus, as if it and the descriptors in it were signed; one input in 64 is signed, and its descriptors
/// are what they are.
enum FuzzConsensus {
    /// Returns whether the bytes are a consensus.
    static func feed(_ bytes: [UInt8]) -> Bool {
        let directoryKey = Self.key.publicKey
        // The signature is never looked at, but its length is.
        let document = bytes + [UInt8](repeating: 0, count: Ed25519PublicKey.signatureByteCount)
        let consensus = try? Consensus(document, directoryKey: directoryKey, check: Self.believe)
        if let consensus { Self.examine(consensus, document) }
        // Signatures take a hundred times as long as what is looked for here.
        if bytes.reduce(0, { $0 &+ Int($1) }) % 64 == 0 {
            _ = try? Consensus(verifying: bytes, directoryKey: directoryKey)
            let signed = SignedDocument.signed(ByteBuffer(bytes: bytes), kind: .consensus, by: Self.key)
            if let read = try? Consensus(verifying: signed, directoryKey: directoryKey) {
                Self.examine(read, signed)
                precondition(read.digest == consensus?.digest, "a signed consensus is read in another way")
            }
        }
        return consensus != nil
    }

    /// Any signature will do, so that a changed descriptor does not end the reading; but some are bad.
    private static func believe(
        _ key: Ed25519PublicKey, _ signature: ArraySlice<UInt8>, _ body: ArraySlice<UInt8>, _ kind: SignedKind
    ) -> Bool {
        kind == .consensus ? key == Self.key.publicKey : signature.last != 0xff
    }

    private static func examine(_ consensus: Consensus, _ bytes: [UInt8]) {
        precondition(consensus.bytes == bytes, "the bytes are not what was signed")
        for time in [0, consensus.validAfter, consensus.freshUntil, consensus.validUntil, .max] {
            try? consensus.acceptance(after: nil, now: time)
        }
        for router in consensus.routers {
            precondition(consensus.router(router.identity)?.descriptor == router.descriptor, "a router is not found")
            precondition((1...DirectoryLimits.weight).contains(router.weight), "a weight is out of its range")
        }
        for parameter in NetworkParameter.allCases {
            precondition(
                parameter.definition.range.contains(consensus.parameters[parameter]), "a parameter is out of its range")
        }
    }

    private static let key: Ed25519PrivateKey = Self.key(7)

    private static func key(_ number: UInt8) -> Ed25519PrivateKey {
        guard let key = Ed25519PrivateKey(seed: [UInt8](repeating: number, count: 32)) else { fatalError("no key") }
        return key
    }

    static var seeds: [[UInt8]] {
        let routers = (UInt8(1)...3).compactMap { number -> ConsensusRouter? in
            let descriptor = RouterDescriptor(
                identity: Self.key(number).publicKey, linkKey: Self.key.publicKey, onionKey: X25519PublicKey(.zero),
                onionKeyValidUntil: 1_795_604_800, published: 1_795_000_000, sequence: 3,
                addresses: [Endpoint(address: .v4(0x0506_0700 + UInt32(number)), port: 9001)], nickname: "r\(number)",
                exitPolicy: number == 1 ? .standard : .rejectAll)
            return (try? descriptor.signed(by: Self.key(number))).map {
                ConsensusRouter(descriptor: $0, flags: number == 1 ? [.exit] : [.guard, .fast], weight: 10)
            }
        }
        var few = NetworkParameters()
        for (parameter, value) in [
            (NetworkParameter.allowLoopback, 1), (.ccWindowInitial, 512), (.circuitLifetime, 60),
        ] {
            try? few.set(parameter, to: value)
        }
        let consensuses = [(few, 0), (few, 1), (few, 3), (NetworkParameters.testNetwork, 2)].map { parameters, count in
            Self.body(parameters, routers.prefix(count))
        }
        let whole = try? Consensus.make(
            revision: 7, validAfter: 1_795_000_000, freshUntil: 1_795_003_600, validUntil: 1_795_010_800,
            parameters: few, routers: routers, signedBy: Self.key)
        return consensuses
            + [whole?.bytes.dropLast(Ed25519PublicKey.signatureByteCount)].compactMap { $0 }
            .map { Array($0) }
    }

    /// A consensus with only the parameters that are given, so that it is short.
    private static func body(_ parameters: NetworkParameters, _ routers: some Sequence<ConsensusRouter>) -> [UInt8] {
        let routers = routers.sorted { $0.identity < $1.identity }
        var body = ByteBuffer()
        body.writeMultipleIntegers(UInt8(1), UInt64(7), UInt64(1_795_000_000), UInt64(1_795_003_600))
        body.writeInteger(UInt64(1_795_010_800))
        parameters.write(to: &body)
        body.writeInteger(UInt16(routers.count))
        for router in routers {
            body.writeInteger(UInt16(router.descriptor.bytes.count))
            body.writeBytes(router.descriptor.bytes)
            body.writeMultipleIntegers(router.flags.rawValue, router.weight)
        }
        return Array(buffer: body)
    }
}
