import OnionAddress
import OnionCrypto
import OnionDirectory
import TestSupport

extension SplitMix64 {
    mutating func bytes32() -> Bytes32 {
        Bytes32((0..<32).map { _ in UInt8(truncatingIfNeeded: self.next()) }) ?? .zero
    }
    mutating func chance(_ percent: UInt64) -> Bool { self.next() % 100 < percent }
}

/// Keys and documents for tests, with values that nothing depends on filled in.
enum Make {
    static let now: UInt64 = 1_795_000_000
    static let directory = key(0xd5)

    static func key(_ number: UInt8) -> Ed25519PrivateKey {
        guard let key = Ed25519PrivateKey(seed: [number] + Array(repeating: 7, count: 31)) else {
            fatalError("a seed of 32 bytes makes a key")
        }
        return key
    }

    static func bytes32(_ number: UInt8) -> Bytes32 { Bytes32(Array(repeating: number, count: 32)) ?? .zero }

    static func endpoint(_ text: String) -> Endpoint {
        guard let endpoint = Endpoint(text) else { fatalError("\(text) is no endpoint") }
        return endpoint
    }

    static func descriptor(
        of key: Ed25519PrivateKey, addresses: [String] = ["5.6.7.8:9001"], family: [Ed25519PublicKey] = [],
        country: String = "", policy: ExitPolicy = .standard, nickname: String = "amber"
    ) -> RouterDescriptor {
        RouterDescriptor(
            identity: key.publicKey, linkKey: Make.key(1).publicKey, onionKey: X25519PublicKey(bytes32(2)),
            onionKeyValidUntil: now + 604_800, published: now, sequence: 3, addresses: addresses.map(endpoint),
            nickname: nickname, exitPolicy: policy, country: country, family: family, bandwidthRate: 1_000_000,
            bandwidthBurst: 2_000_000, software: "thor 0.1", contact: "ops@example.org")
    }

    static func consensus(
        _ routers: [ConsensusRouter], revision: UInt64 = 7, validAfter: UInt64 = now,
        parameters: NetworkParameters = NetworkParameters()
    ) throws -> Consensus {
        try Consensus.make(
            revision: revision, validAfter: validAfter, freshUntil: validAfter + 3_600,
            validUntil: validAfter + 10_800, parameters: parameters, routers: routers, signedBy: directory)
    }

    static func routers(_ count: UInt8) throws -> [ConsensusRouter] {
        try (0..<count).map { number in
            let key = Make.key(number)
            let descriptor = try Make.descriptor(of: key, addresses: ["\(number + 11).6.7.8:9001"]).signed(by: key)
            return ConsensusRouter(descriptor: descriptor, flags: [.guard, .exit], weight: 10)
        }
    }

    /// A random network with families (mutual and not), shared networks, policies and weights.
    static func network(seed: UInt64) throws -> Consensus {
        var random = SplitMix64(seed)
        let keys = (0..<Int.random(in: 3...14, using: &random)).map { _ in
            Ed25519PrivateKey(seed: random.bytes32().bytes) ?? Ed25519PrivateKey()
        }
        let policies: [ExitPolicy] = [
            .standard, .rejectAll, try ExitPolicy(parsing: ["accept *:443"]),
            try ExitPolicy(parsing: ["reject *:1-1000", "accept *:*"]),
        ]
        let routers = try keys.map { key in
            var addresses = [
                "5.\(Int.random(in: 0..<12, using: &random)).0.\(Int.random(in: 1..<250, using: &random)):9001"
            ]
            if random.chance(40) { addresses.append("[2a00:\(Int.random(in: 1..<12, using: &random))::1]:9001") }
            let descriptor = Make.descriptor(
                of: key, addresses: addresses,
                family: keys.filter { _ in random.chance(15) }.prefix(8).map(\.publicKey),
                country: ["", "SE", "DE"].randomElement(using: &random) ?? "",
                policy: policies.randomElement(using: &random) ?? .standard)
            var flags: RouterFlags = []
            if random.chance(60) { flags.insert(.guard) }
            if random.chance(60) { flags.insert(.exit) }
            return ConsensusRouter(
                descriptor: try descriptor.signed(by: key), flags: flags,
                weight: random.chance(10) ? DirectoryLimits.weight : UInt64.random(in: 1...1_000, using: &random))
        }
        var parameters = NetworkParameters()
        if random.chance(25) { try parameters.set(.allowSameSubnet, to: 1) }
        return try Make.consensus(routers, parameters: parameters)
    }
}
