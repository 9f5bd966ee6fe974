import OnionAddress
import OnionCrypto

/// Which routers of a consensus must not be on one path, for every router at once; made when the consensus is read.
///
/// Two are related that are the same, that both declare each other their family, or that have an address in one network
/// (with `allow-same-subnet` only the first two count). A directory that is not honest can list 1024 routers of which no
/// three are unrelated: to ask of each two, for each third, would hold a client up for a minute.
///
/// - Source: DESIGN §9
struct RouterRelations: Sendable {
    private let related: [RouterSet]

    /// - Complexity: O(routers), and a bit for each two routers of one network.
    init(_ routers: [ConsensusRouter], indices: [Ed25519PublicKey: Int], allowSameSubnet: Bool) {
        var related = routers.indices.map { RouterSet(CollectionOfOne($0), of: routers.count) }
        for (index, router) in routers.enumerated() {
            for member in router.descriptor.descriptor.family {
                guard let other = indices[member],
                    routers[other].descriptor.descriptor.family.contains(router.identity)
                else { continue }
                related[index].insert(other)
            }
        }
        if !allowSameSubnet {
            var subnets: [IPPrefix: RouterSet] = [:]
            for (index, router) in routers.enumerated() {
                for address in router.addresses {
                    subnets[address.address.pathSubnet, default: RouterSet([], of: routers.count)].insert(index)
                }
            }
            for (index, router) in routers.enumerated() {
                for address in router.addresses {
                    if let members = subnets[address.address.pathSubnet] { related[index].formUnion(members) }
                }
            }
        }
        self.related = related
    }

    /// Those that must not be on a path with this one, itself among them.
    subscript(_ index: Int) -> RouterSet { self.related[index] }

    /// Whether there is an entry, a middle and a last hop of which no two are related.
    func hasPath(entries: [Int], middles: RouterSet, lastHops: RouterSet) -> Bool {
        entries.contains { entry in
            let middles = middles.subtracting(self.related[entry])
            let lastHops = lastHops.subtracting(self.related[entry])
            return lastHops.first { !middles.isSubset(of: self.related[$0]) } != nil
        }
    }
}
