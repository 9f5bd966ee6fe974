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
/// - Complexity: O(routers) for a network where most routers are unrelated.
/// - Source: DESIGN §9, *Path assignment*
public func drawPath(
    consensus: Consensus, seed: Bytes32, guards: [Ed25519PublicKey], constraints: PathConstraints
) throws(PathError) -> [ConsensusRouter] {
    var draw = PathDraw(consensus: consensus, seed: seed, constraints: constraints)
    return try draw.path(guards: guards)
}

/// Say why no path at all can be drawn in this network, whoever the guard and wherever it leads; nil if one can.
///
/// - Complexity: as ``drawPath(consensus:seed:guards:constraints:)``.
public func pathObstacle(in consensus: Consensus) -> PathError? {
    do throws(PathError) {
        _ = try drawPath(
            consensus: consensus, seed: .zero, guards: [], constraints: PathConstraints(lastHop: .directory))
        return nil
    } catch {
        return error
    }
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
    var candidates = consensus.routers.filter { $0.flags.contains(.guard) && !existing.contains($0.identity) }
    var sample: [Ed25519PublicKey] = []
    while sample.count < count, let drawn = stream.draw(from: candidates) {
        sample.append(drawn.identity)
        candidates.removeAll { $0.identity == drawn.identity }
    }
    return sample
}

/// One draw in progress; the steps are numbered as in ``drawPath(consensus:seed:guards:constraints:)``.
private struct PathDraw {
    private var stream: DrawStream
    private let usable: [ConsensusRouter]
    private let lastHops: [ConsensusRouter]
    private let allowSameSubnet: Bool
    private let consensus: Consensus
    private let constraints: PathConstraints

    init(consensus: Consensus, seed: Bytes32, constraints: PathConstraints) {
        self.stream = DrawStream(seed: seed)
        self.usable = consensus.routers.filter { !constraints.exclude.contains($0.identity) }
        self.lastHops = self.usable.filter(constraints.allowsLastHop)
        self.allowSameSubnet = consensus.parameters.allows(.allowSameSubnet)
        self.consensus = consensus
        self.constraints = constraints
    }

    /// Step 2.
    mutating func path(guards: [Ed25519PublicKey]) throws(PathError) -> [ConsensusRouter] {
        let candidates: [ConsensusRouter]
        if guards.isEmpty {
            candidates = self.usable.filter { $0.flags.contains(.guard) }
        } else {
            candidates = guards.compactMap { self.consensus.router($0) }.filter {
                $0.flags.contains(.guard) && !self.constraints.exclude.contains($0.identity)
            }
        }
        guard !candidates.isEmpty else { throw .noUsableGuard }
        guard !self.lastHops.isEmpty else { throw .noLastHop(self.constraints.lastHop) }
        var left = candidates
        while let entry = guards.isEmpty ? self.stream.draw(from: left) : left.first {
            if let (middle, last) = self.rest(behind: entry) { return [entry, middle, last] }
            left.removeAll { $0.identity == entry.identity }
        }
        throw .tooFewUnrelatedRouters
    }

    /// Steps 3 and 4.
    private mutating func rest(behind entry: ConsensusRouter) -> (middle: ConsensusRouter, last: ConsensusRouter)? {
        let allowSameSubnet = self.allowSameSubnet
        var lastHops = self.lastHops.filter { !$0.isRelated(to: entry, allowSameSubnet: allowSameSubnet) }
        let middles = self.usable.filter { !$0.isRelated(to: entry, allowSameSubnet: allowSameSubnet) }
        while let last = self.stream.draw(from: lastHops) {
            let candidates = middles.filter { !$0.isRelated(to: last, allowSameSubnet: allowSameSubnet) }
            if let middle = self.stream.draw(from: candidates) { return (middle, last) }
            lastHops.removeAll { $0.identity == last.identity }
        }
        return nil
    }
}
