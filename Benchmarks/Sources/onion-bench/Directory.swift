import OnionAddress
import OnionCrypto
import OnionDirectory

/// The consensus and the path draw, in a network of 50 routers.
func measureDirectory(_ meter: inout Meter) throws {
    let now: UInt64 = 1_795_000_000
    let directory = Ed25519PrivateKey()
    let routers = try (0..<50).map { index in
        let key = Ed25519PrivateKey()
        let descriptor = RouterDescriptor(
            identity: key.publicKey, linkKey: Ed25519PrivateKey().publicKey, onionKey: X25519PrivateKey().publicKey,
            onionKeyValidUntil: now + 604_800, published: now, sequence: 1,
            addresses: [try need(Endpoint("5.\(index).7.8:9001"), "an address")], nickname: "router\(index)",
            exitPolicy: .standard, country: "SE")
        return ConsensusRouter(
            descriptor: try descriptor.signed(by: key), flags: [.guard, .exit, .fast, .stable],
            weight: UInt64(1_000 + index))
    }
    let consensus = try Consensus.make(
        revision: 1, validAfter: now, freshUntil: now + 3_600, validUntil: now + 10_800,
        parameters: NetworkParameters(), routers: routers, signedBy: directory)
    let guards = consensus.routers.prefix(3).map(\.identity)
    let seed = PathSeed.commitment(to: consensus.digest)
    let constraints = PathConstraints(lastHop: .exit(port: 443))
    try meter.measure("directory", "draw a path of 50 routers") {
        use(try drawPath(consensus: consensus, seed: seed, guards: guards, constraints: constraints))
    }
    try meter.measure("directory", "verify a consensus of 50 routers") {
        use(try Consensus(verifying: consensus.bytes, directoryKey: directory.publicKey))
    }
}
