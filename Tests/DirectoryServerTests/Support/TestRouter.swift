import OnionAddress
import OnionCrypto
import OnionDirectory

/// One router's keys, and the descriptors that it signs.
struct TestRouter: Sendable {
    let identity = Ed25519PrivateKey()
    let linkKey = Ed25519PrivateKey()
    let onionKey = X25519PrivateKey()
    var nickname = "router"
    var address = Endpoint(address: .v4(0x0808_0808), port: 9001)
    var otherAddresses: [Endpoint] = []
    var bandwidthRate: UInt64 = 1_000_000
    var exitPolicy = ExitPolicy.standard

    var fingerprint: Ed25519PublicKey { self.identity.publicKey }

    func descriptor(sequence: UInt64 = 1, published: UInt64 = 1_000_000) throws -> SignedDescriptor {
        try RouterDescriptor(
            identity: self.identity.publicKey, linkKey: self.linkKey.publicKey, onionKey: self.onionKey.publicKey,
            onionKeyValidUntil: 4_000_000_000, published: published, sequence: sequence,
            addresses: [self.address] + self.otherAddresses, nickname: self.nickname, exitPolicy: self.exitPolicy,
            bandwidthRate: self.bandwidthRate
        ).signed(by: self.identity)
    }
}
