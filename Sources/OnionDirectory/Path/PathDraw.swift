public import OnionCrypto

/// Draw a path: guard, middle, last hop, in this order in the result.
///
/// A pure function: the same arguments give the same path on any machine. The rules, exactly, for whoever checks one:
///
/// 1. *Stream.* All numbers come from one ``DrawStream`` of the seed. A *draw* from candidates is ``DrawStream/draw(from:)``;
///    candidates are always in the consensus's order (ascending by identity). No draw is made where there is no candidate.
/// 2. *Guard.* The usable guards are the routers of the consensus with the guard flag that are not excluded. With a sample, go through
///    its usable members in the sample's order, without a draw. With an empty sample, draw one of all usable guards; when
///    step 3 fails for it, strike it out and draw again.
/// 3. *Last hop.* Candidates are the routers that are not excluded, that meet the constraints (pinned exit, country, exit flag, exit
///    policy for the port), and that are unrelated to the guard. Draw one. When step 4 has no candidate for it, strike it
///    out and draw again. When none is left, go on to the next guard.
/// 4. *Middle.* Candidates are the routers that are not excluded and are unrelated to both. Draw one.
///
/// Two routers are related if they are the same, if each declares the other its family, or, unless the parameter
/// `allow-same-subnet` is 1, if an address of one is in the /16 (IPv4) or /32 (IPv6) of an address of the other.
///
/// - Parameters:
///   - seed: from ``PathSeed/derive(secret:salt:consensusDigest:counter:)``.
///   - guards: the client's sample, preferred first.
/// - Throws: ``PathError``
/// - Complexity: O(routers) for a network where most routers are unrelated; O(guards · routers²) at worst, when the sample's
///   first guards lead nowhere.
/// - Source: DESIGN §9, *Path assignment*
public func drawPath(
    consensus: Consensus, seed: Bytes32, guards: [Ed25519PublicKey], constraints: PathConstraints
) throws(PathError) -> [ConsensusRouter] {
    var draw = PathDraw(consensus: consensus, seed: seed, constraints: constraints)
    return try draw.path(guards: guards)
}

/// Say why no path at all can be drawn in this network, whoever the guard and wherever it leads; nil if one can.
///
/// - Complexity: O(routers) where most are unrelated; O(routers³ / 64) at worst, so ask once per consensus.
public func pathObstacle(in consensus: Consensus) -> PathError? {
    let routers = consensus.routers
    let guards = routers.indices.filter { routers[$0].flags.contains(.guard) }
    guard !guards.isEmpty else { return .noUsableGuard }
    let all = RouterSet(routers.indices, of: routers.count)
    return consensus.relations.hasPath(entries: guards, middles: all, lastHops: all) ? nil : .tooFewUnrelatedRouters
}

/// Draw a client's first guard sample, preferred first: `count` routers with the guard flag, fewer if there are fewer.
///
/// One after the other is drawn from those with the flag that are neither in `existing` nor drawn yet, as in
/// ``drawPath(consensus:seed:guards:constraints:)``. With `existing` a sample is topped up: only the new ones are returned.
///
/// - Parameter seed: from ``PathSeed/deriveGuardSample(secret:consensusDigest:)``.
public func drawGuardSample(
    consensus: Consensus, seed: Bytes32, count: Int, existing: Set<Ed25519PublicKey> = []
) -> [Ed25519PublicKey] {
    var stream = DrawStream(seed: seed)
    let routers = consensus.routers
    var candidates = RouterSet(
        routers.indices.filter { routers[$0].flags.contains(.guard) && !existing.contains(routers[$0].identity) },
        of: routers.count)
    var sample: [Ed25519PublicKey] = []
    while sample.count < count, let drawn = stream.draw(from: candidates, of: routers) {
        sample.append(routers[drawn].identity)
        candidates.remove(drawn)
    }
    return sample
}

/// One draw in progress; the steps are numbered as in ``drawPath(consensus:seed:guards:constraints:)``.
///
/// Routers are named by their place in the consensus.
private struct PathDraw {
    private var stream: DrawStream
    private let usable: RouterSet
    private let lastHops: RouterSet
    private let consensus: Consensus
    private let constraints: PathConstraints

    init(consensus: Consensus, seed: Bytes32, constraints: PathConstraints) {
        self.stream = DrawStream(seed: seed)
        let routers = consensus.routers
        let usable = routers.indices.filter { !constraints.exclude.contains(routers[$0].identity) }
        self.usable = RouterSet(usable, of: routers.count)
        self.lastHops = RouterSet(usable.filter { constraints.allowsLastHop(routers[$0]) }, of: routers.count)
        self.consensus = consensus
        self.constraints = constraints
    }

    /// Step 2.
    mutating func path(guards: [Ed25519PublicKey]) throws(PathError) -> [ConsensusRouter] {
        let routers = self.consensus.routers
        let listed = guards.isEmpty ? Array(routers.indices) : guards.compactMap(self.consensus.index)
        var left = listed.filter { self.usable.contains($0) && routers[$0].flags.contains(.guard) }
        guard !left.isEmpty else { throw .noUsableGuard }
        guard !self.lastHops.isEmpty else { throw .noLastHop(self.constraints.lastHop) }
        // Without this a hopeless draw would go through all last hops of every guard.
        guard self.consensus.relations.hasPath(entries: left, middles: self.usable, lastHops: self.lastHops) else {
            throw .tooFewUnrelatedRouters
        }
        while let entry = guards.isEmpty ? self.draw(from: left) : left.first {
            if let (middle, last) = self.rest(behind: entry) { return [entry, middle, last].map { routers[$0] } }
            left.removeAll { $0 == entry }
        }
        throw .tooFewUnrelatedRouters
    }

    /// Steps 3 and 4.
    private mutating func rest(behind entry: Int) -> (middle: Int, last: Int)? {
        let (routers, relations) = (self.consensus.routers, self.consensus.relations)
        var lastHops = self.lastHops.subtracting(relations[entry])
        let middles = self.usable.subtracting(relations[entry])
        while let last = self.stream.draw(from: lastHops, of: routers) {
            let candidates = middles.subtracting(relations[last])
            if let middle = self.stream.draw(from: candidates, of: routers) { return (middle, last) }
            lastHops.remove(last)
        }
        return nil
    }

    private mutating func draw(from candidates: [Int]) -> Int? {
        let routers = self.consensus.routers
        return self.stream.draw(from: RouterSet(candidates, of: routers.count), of: routers)
    }
}
