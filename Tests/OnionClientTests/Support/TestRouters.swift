import OnionAddress
import OnionCrypto
import OnionDirectory

@testable import OnionClient

/// A router of a test consensus, with its keys.
struct TestRouter {
    let identity = Ed25519PrivateKey()
    let onionKey = X25519PrivateKey()

    func listed(
        _ nickname: String, port: UInt16, linkKey: Ed25519PublicKey = Ed25519PrivateKey().publicKey,
        flags: RouterFlags = [.guard, .exit], policy: [String] = ["accept *:*"], country: String = ""
    ) throws -> ConsensusRouter {
        let descriptor = RouterDescriptor(
            identity: self.identity.publicKey, linkKey: linkKey, onionKey: self.onionKey.publicKey,
            onionKeyValidUntil: 4_000_000_000, published: 1_700_000_000, sequence: 1,
            addresses: [Endpoint(address: .v4(0x7f00_0001), port: port)], nickname: nickname,
            exitPolicy: try ExitPolicy(parsing: policy), country: country)
        return ConsensusRouter(descriptor: try descriptor.signed(by: self.identity), flags: flags, weight: 1)
    }
}

/// A consensus that is valid now.
func makeConsensus(
    _ routers: [ConsensusRouter], now: UInt64, parameters: NetworkParameters = .testNetwork,
    key: Ed25519PrivateKey = Ed25519PrivateKey()
) throws -> Consensus {
    try Consensus.make(
        revision: 1, validAfter: now - 60, freshUntil: now + 3540, validUntil: now + 10_000, parameters: parameters,
        routers: routers, signedBy: key)
}

func someKey() -> Ed25519PublicKey { Ed25519PrivateKey().publicKey }

/// A sample of so many guards that are nobody's.
func someSample(_ count: Int, unixTime: UInt64) -> GuardSample {
    var sample = GuardSample()
    sample.add((0..<count).map { _ in someKey() }, unixTime: unixTime)
    return sample
}
