import DirectoryClient
import NIOCore
import OnionAddress
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams

/// What the event loops know of the network: one consensus, ready for look-ups. Immutable; each loop holds the newest.
final class NetworkView: Sendable {
    let revision: UInt64
    let parameters: NetworkParameters
    let congestion: CongestionParameters
    let streamLimits: StreamLimits
    let linkLimits: LinkLimits
    let handshakeLimits: HandshakeService.QueueLimits
    /// Addresses and ports at which nodes of the network listen: no exit connects there.
    let nodeEndpoints: Set<Endpoint>
    /// Where connections of listed ORs come from, as far as the consensus says.
    let routerNetworks: [IPPrefix]
    private let byIdentity: [Ed25519PublicKey: ConsensusRouter]
    private let identityByLinkKey: [Ed25519PublicKey: Ed25519PublicKey]

    init(consensus: Consensus?) {
        self.revision = consensus?.revision ?? 0
        self.parameters = consensus?.parameters ?? NetworkParameters()
        self.congestion = CongestionParameters(self.parameters)
        self.streamLimits = StreamLimits(self.parameters)
        self.linkLimits = LinkLimits(self.parameters)
        self.handshakeLimits = HandshakeService.QueueLimits(self.parameters)
        let routers = consensus?.routers ?? []
        self.byIdentity = Dictionary(routers.map { ($0.identity, $0) }) { first, _ in first }
        self.identityByLinkKey = Dictionary(routers.map { ($0.linkKey, $0.identity) }) { first, _ in first }
        self.nodeEndpoints = consensus?.nodeEndpoints ?? []
        self.routerNetworks = routers.flatMap { $0.addresses.map(\.address.sourceNetwork) }
    }

    func router(_ identity: Ed25519PublicKey) -> ConsensusRouter? { self.byIdentity[identity] }

    /// The OR whose link key this is; nil for a proxy, and for an OR that is not in the consensus.
    func identity(ofLinkKey linkKey: Ed25519PublicKey) -> Ed25519PublicKey? { self.identityByLinkKey[linkKey] }
}
