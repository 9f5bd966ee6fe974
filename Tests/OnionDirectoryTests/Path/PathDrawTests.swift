import OnionAddress
import OnionCrypto
import TestSupport
import Testing

@testable import OnionDirectory

@Suite("Path draw")
struct PathDrawTests {
    /// Written anew from DESIGN §9, not with ``RouterRelations``.
    private func mayShareAPath(_ a: ConsensusRouter, _ b: ConsensusRouter, in consensus: Consensus) -> Bool {
        guard a.identity != b.identity else { return false }
        let (left, right) = (a.descriptor.descriptor, b.descriptor.descriptor)
        guard !(left.family.contains(b.identity) && right.family.contains(a.identity)) else { return false }
        guard consensus.parameters[.allowSameSubnet] == 0 else { return true }
        func networks(_ descriptor: RouterDescriptor) -> Set<[UInt8]> {
            Set(
                descriptor.addresses.map {
                    [UInt8($0.address.bytes.count)] + $0.address.bytes.prefix($0.address.isIPv4 ? 2 : 4)
                })
        }
        return networks(left).isDisjoint(with: networks(right))
    }

    @Test(
        "over random networks: distinct, unrelated, right flags, policy allows the port, same again",
        arguments: 0..<300 as Range<UInt64>)
    func properties(seed: UInt64) throws {
        let consensus = try Make.network(seed: seed)
        let again = try Consensus(verifying: consensus.bytes, directoryKey: Make.directory.publicKey)
        let anywhere = PathConstraints(lastHop: .directory)
        #expect(
            (pathObstacle(in: consensus) == nil) == self.pathExists(in: consensus, guards: [], constraints: anywhere))
        for (index, router) in consensus.routers.enumerated() {
            for (otherIndex, other) in consensus.routers.enumerated() {
                let isRelated = !self.mayShareAPath(router, other, in: consensus)
                #expect(consensus.relations[index].contains(otherIndex) == isRelated)
            }
        }
        var random = SplitMix64(seed &+ 1_000_000)
        let sample = drawGuardSample(consensus: consensus, seed: random.bytes32(), count: 3)
        for round in 0..<6 {
            let pathSeed = random.bytes32()
            let port: UInt16 = [25, 80, 443, 8443].randomElement(using: &random) ?? 80
            let excluded = Set(consensus.routers.filter { _ in random.chance(10) }.map(\.identity))
            let constraints = PathConstraints(port: port, exclude: excluded)
            let guards = round.isMultiple(of: 2) ? sample : []
            let path: [ConsensusRouter]
            do {
                path = try drawPath(consensus: consensus, seed: pathSeed, guards: guards, constraints: constraints)
            } catch {
                #expect(
                    !self.pathExists(in: consensus, guards: guards, constraints: constraints), "seed \(seed): \(error)")
                continue
            }
            try #require(path.count == 3)
            #expect(path[0].flags.contains(.guard) && path[2].flags.contains(.exit))
            #expect(path[2].exitPolicy.mayAllow(port: port))
            #expect(guards.isEmpty || guards.contains(path[0].identity))
            #expect(excluded.isDisjoint(with: path.map(\.identity)))
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                #expect(self.mayShareAPath(path[a], path[b], in: consensus), "seed \(seed), hops \(a) and \(b)")
            }
            let repeated = try drawPath(consensus: again, seed: pathSeed, guards: guards, constraints: constraints)
            #expect(repeated == path)
        }
    }

    @Test("a network of fewer than three routers has no path, and says why")
    func obstacle() throws {
        #expect(pathObstacle(in: try Make.consensus(Make.routers(0))) == .noUsableGuard)
        #expect(pathObstacle(in: try Make.consensus(Make.routers(2))) == .tooFewUnrelatedRouters)
        #expect(pathObstacle(in: try Make.consensus(Make.routers(3))) == nil)
    }

    @Test(
        "that 1024 routers in two networks have no path is said without going through all of them for each of them",
        .timeLimit(.minutes(1)))
    func twoNetworks() throws {
        var random = SplitMix64(1)
        let routers = try (0..<DirectoryLimits.routerCount).map { number in
            let key = try #require(Ed25519PrivateKey(seed: random.bytes32().bytes))
            let address = "5.\(number % 2).\(number / 256).\(number % 256):9001"
            return ConsensusRouter(
                descriptor: try Make.descriptor(of: key, addresses: [address]).signed(by: key),
                flags: [.guard, .exit], weight: 1)
        }
        let consensus = try Make.consensus(routers)
        #expect(pathObstacle(in: consensus) == .tooFewUnrelatedRouters)
        let sample = drawGuardSample(consensus: consensus, seed: .zero, count: 100)
        #expect(sample.count == 100)
        for guards in [sample, []] {
            #expect(throws: PathError.tooFewUnrelatedRouters) {
                try drawPath(
                    consensus: consensus, seed: .zero, guards: guards, constraints: PathConstraints(port: 443))
            }
        }
    }

    private func pathExists(
        in consensus: Consensus, guards: [Ed25519PublicKey], constraints: PathConstraints
    ) -> Bool {
        let usable = consensus.routers.filter { !constraints.exclude.contains($0.identity) }
        return usable.contains { entry in
            guard entry.flags.contains(.guard), guards.isEmpty || guards.contains(entry.identity) else { return false }
            return usable.contains { last in
                guard constraints.allowsLastHop(last), self.mayShareAPath(entry, last, in: consensus) else {
                    return false
                }
                return usable.contains {
                    self.mayShareAPath($0, entry, in: consensus) && self.mayShareAPath($0, last, in: consensus)
                }
            }
        }
    }

    @Test("weights are followed at every position (chi-square)") func chiSquare() throws {
        let weights: [UInt64] = [1, 2, 3, 5, 8, 13, 21, 47]
        let routers = zip(try Make.routers(8), weights).map {
            ConsensusRouter(descriptor: $0.descriptor, flags: [.guard, .exit], weight: $1)
        }
        let consensus = try Make.consensus(routers)
        let ordered = consensus.routers.map { Double($0.weight) }
        let total = ordered.reduce(0, +)
        // What each position gets: the guard by weight; then the last hop, then the middle, by weight among the rest.
        var expected = Array(repeating: Array(repeating: 0.0, count: 8), count: 3)
        for g in 0..<8 {
            expected[0][g] += ordered[g] / total
            for l in 0..<8 where l != g {
                let last = ordered[g] / total * ordered[l] / (total - ordered[g])
                expected[2][l] += last
                for m in 0..<8 where m != g && m != l {
                    expected[1][m] += last * ordered[m] / (total - ordered[g] - ordered[l])
                }
            }
        }
        let draws = 6_000
        var counts = Array(repeating: Array(repeating: 0.0, count: 8), count: 3)
        let position = Dictionary(uniqueKeysWithValues: zip(consensus.routers.map(\.identity), 0...))
        for counter in 0..<UInt64(draws) {
            let seed = PathSeed.derive(
                secret: Make.bytes32(9), salt: .zero, consensusDigest: consensus.digest, counter: counter)
            let path = try drawPath(
                consensus: consensus, seed: seed, guards: [], constraints: PathConstraints(port: 443))
            for (hop, router) in path.enumerated() { counts[hop][try #require(position[router.identity])] += 1 }
        }
        for hop in 0..<3 {
            let statistic = zip(counts[hop], expected[hop]).reduce(0) { sum, pair in
                let mean = pair.1 * Double(draws)
                return sum + (pair.0 - mean) * (pair.0 - mean) / mean
            }
            // 7 degrees of freedom: 24.3 is passed once in a thousand. The draw is deterministic, so this never flickers.
            #expect(statistic < 24.3, "hop \(hop): \(statistic)")
        }
    }

    @Test("the heaviest weights there can be do not overflow") func heaviestWeights() throws {
        let routers = try Make.routers(40).map {
            ConsensusRouter(descriptor: $0.descriptor, flags: [.guard, .exit], weight: .max)
        }
        #expect(routers.allSatisfy { $0.weight == DirectoryLimits.weight })
        let (sum, overflow) = DirectoryLimits.weight.multipliedReportingOverflow(
            by: UInt64(DirectoryLimits.routerCount))
        #expect(!overflow && sum < .max)
        let consensus = try Make.consensus(routers)
        let path = try drawPath(
            consensus: consensus, seed: Make.bytes32(1), guards: [], constraints: PathConstraints(port: 443))
        #expect(Set(path.map(\.identity)).count == 3)
    }

    @Test("the first usable guard of the sample is kept, the next one taken when it is excluded or gone")
    func guardOrder() throws {
        let consensus = try Make.consensus(try Make.routers(6))
        let sample = [Make.key(99).publicKey, Make.key(4).publicKey, Make.key(1).publicKey]
        for number in 0..<20 as Range<UInt8> {
            let path = try drawPath(
                consensus: consensus, seed: Make.bytes32(number), guards: sample, constraints: PathConstraints(port: 80)
            )
            #expect(path[0].identity == sample[1])
            let other = try drawPath(
                consensus: consensus, seed: Make.bytes32(number), guards: sample,
                constraints: PathConstraints(port: 80, exclude: [sample[1]]))
            #expect(other[0].identity == sample[2])
        }
    }

    @Test("a guard that is the wanted exit gives way to the next guard") func guardIsExit() throws {
        let consensus = try Make.consensus(try Make.routers(3))
        let (first, second) = (Make.key(0).publicKey, Make.key(1).publicKey)
        let path = try drawPath(
            consensus: consensus, seed: Make.bytes32(1), guards: [first, second],
            constraints: PathConstraints(port: 80, exit: first))
        #expect(path.map(\.identity) == [second, Make.key(2).publicKey, first])
    }

    @Test("a family counts only if both declare it") func oneSidedFamily() throws {
        let keys = (0..<3).map { Make.key($0) }
        func consensus(mutual: Bool) throws -> Consensus {
            try Make.consensus(
                keys.enumerated().map { index, key in
                    let family = index == 0 ? [keys[1].publicKey] : index == 1 && mutual ? [keys[0].publicKey] : []
                    let descriptor = Make.descriptor(of: key, addresses: ["\(index + 11).1.1.1:9001"], family: family)
                    return ConsensusRouter(
                        descriptor: try descriptor.signed(by: key), flags: [.guard, .exit], weight: 1)
                })
        }
        let constraints = PathConstraints(port: 80)
        #expect(
            try drawPath(consensus: consensus(mutual: false), seed: .zero, guards: [], constraints: constraints).count
                == 3)
        #expect(throws: PathError.tooFewUnrelatedRouters) {
            try drawPath(consensus: consensus(mutual: true), seed: .zero, guards: [], constraints: constraints)
        }
    }

    @Test("says why there is no path") func refusals() throws {
        let routers = try Make.routers(3)
        let consensus = try Make.consensus(routers)
        func draw(
            _ constraints: PathConstraints, guards: [Ed25519PublicKey] = [], from consensus: Consensus
        ) throws -> [ConsensusRouter] {
            try drawPath(consensus: consensus, seed: .zero, guards: guards, constraints: constraints)
        }
        #expect(throws: PathError.noUsableGuard) {
            try draw(PathConstraints(port: 80), guards: [Make.key(77).publicKey], from: consensus)
        }
        #expect(throws: PathError.noLastHop(.exit(port: 25))) { try draw(PathConstraints(port: 25), from: consensus) }
        #expect(throws: PathError.noLastHop(.resolver)) {
            try draw(PathConstraints(port: nil, countries: .only(["SE"])), from: consensus)
        }
        #expect(throws: PathError.tooFewUnrelatedRouters) {
            try draw(PathConstraints(port: 80, exclude: [routers[0].identity]), from: consensus)
        }
        #expect(throws: PathError.noUsableGuard) { try draw(PathConstraints(port: 80), from: try Make.consensus([])) }
        let relays = routers.map { ConsensusRouter(descriptor: $0.descriptor, flags: .guard, weight: 1) }
        let noExits = try Make.consensus(relays)
        #expect(try draw(PathConstraints(lastHop: .directory), from: noExits).count == 3)
        #expect(throws: PathError.noLastHop(.resolver)) { try draw(PathConstraints(port: nil), from: noExits) }
    }

    @Test("numbers below a bound are all possible and none is at it", arguments: [1, 2, 3, 7, 8, 9] as [UInt64])
    func bounds(bound: UInt64) {
        var stream = DrawStream(seed: .zero)
        let seen = Set((0..<400).map { _ in stream.next(below: bound) })
        #expect(seen == Set(0..<bound))
        #expect(stream.next(below: .max) < .max)
    }
}
