import Foundation
import OnionAddress
import OnionCrypto
import Testing

@testable import OnionDirectory

@Suite("Path draw against an independent script")
struct PathVectorTests {
    struct Document: Decodable {
        struct Seed: Decodable { let secret, salt, digest, counter, commitment, seed, guardSeed: String }
        struct Router: Decodable {
            let seed, `public`, country: String
            let flags, addresses, family, policy: [String]
            let weight: UInt64
        }
        enum Result: Decodable, Equatable {
            case path([String])
            case failure(String)
            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let path = try? container.decode([String].self) {
                    self = .path(path)
                } else {
                    self = .failure(try container.decode(String.self))
                }
            }
        }
        struct Case: Decodable {
            let seed, purpose: String
            let guards, exclude: [String]
            let port: UInt16
            let onlyCountries, notCountries: [String]?
            let exit: String?
            let allowSameSubnet: Bool
            let result: Result
        }
        struct Sample: Decodable {
            let seed: String
            let count: Int
            let existing, sample: [String]
        }
        struct Network: Decodable {
            let routers: [Router]
            let cases: [Case]
            let guardSamples: [Sample]
        }
        let seeds: [Seed]
        let networks: [Network]
    }

    private static func load() throws -> Document {
        let url = try #require(Bundle.module.url(forResource: "Vectors/path-draw", withExtension: "json"))
        return try JSONDecoder().decode(Document.self, from: Data(contentsOf: url))
    }

    @Test("seeds and commitments") func seeds() throws {
        let seeds = try Self.load().seeds
        #expect(seeds.count == 4)
        for vector in seeds {
            let secret = try Hex.bytes32(vector.secret)
            let digest = try Hex.bytes32(vector.digest)
            let seed = PathSeed.derive(
                secret: secret, salt: try Hex.bytes32(vector.salt), consensusDigest: digest,
                counter: try #require(UInt64(vector.counter)))
            #expect(Hex.text(seed.bytes) == vector.seed)
            #expect(Hex.text(PathSeed.commitment(to: secret).bytes) == vector.commitment)
            let guardSeed = PathSeed.deriveGuardSample(secret: secret, consensusDigest: digest)
            #expect(Hex.text(guardSeed.bytes) == vector.guardSeed)
        }
    }

    @Test("paths and guard samples") func paths() throws {
        var pathCount = 0
        for network in try Self.load().networks {
            let routers = try network.routers.map(Self.router)
            for allowSameSubnet in [false, true] {
                var parameters = NetworkParameters()
                try parameters.set(.allowSameSubnet, to: allowSameSubnet ? 1 : 0)
                let consensus = try Make.consensus(routers, parameters: parameters)
                for vector in network.cases where vector.allowSameSubnet == allowSameSubnet {
                    #expect(try Self.result(of: vector, consensus: consensus) == vector.result)
                    if case .path = vector.result { pathCount += 1 }
                }
                for vector in network.guardSamples {
                    let sample = drawGuardSample(
                        consensus: consensus, seed: try Hex.bytes32(vector.seed), count: vector.count,
                        existing: Set(try vector.existing.map(Hex.key)))
                    #expect(sample.map { Hex.text($0.rawBytes) } == vector.sample)
                }
            }
        }
        #expect(pathCount > 80)
    }

    private static func router(_ vector: Document.Router) throws -> ConsensusRouter {
        let key = try #require(Ed25519PrivateKey(seed: Hex.bytes(vector.seed)))
        #expect(Hex.text(key.publicKey.rawBytes) == vector.public)
        let descriptor = Make.descriptor(
            of: key,
            addresses: vector.addresses.map { $0.contains(":") ? "[\($0)]:9001" : "\($0):9001" },
            family: try vector.family.map(Hex.key), country: vector.country,
            policy: try ExitPolicy(parsing: vector.policy))
        let names: [(String, RouterFlags)] = [
            ("guard", .guard), ("exit", .exit), ("fast", .fast), ("stable", .stable),
        ]
        let flags = RouterFlags(names.filter { vector.flags.contains($0.0) }.map(\.1))
        return ConsensusRouter(descriptor: try descriptor.signed(by: key), flags: flags, weight: vector.weight)
    }

    private static func result(of vector: Document.Case, consensus: Consensus) throws -> Document.Result {
        let lastHop: PathConstraints.LastHop =
            switch vector.purpose {
            case "directory": .directory
            case "resolver": .resolver
            default: .exit(port: vector.port)
            }
        let countries: PathConstraints.Countries
        if let only = vector.onlyCountries {
            countries = .only(Set(only))
        } else if let not = vector.notCountries {
            countries = .not(Set(not))
        } else {
            countries = .any
        }
        let constraints = PathConstraints(
            lastHop: lastHop, exclude: Set(try vector.exclude.map(Hex.key)), countries: countries,
            exit: try vector.exit.map(Hex.key))
        let (seed, guards) = (try Hex.bytes32(vector.seed), try vector.guards.map(Hex.key))
        do {
            let path = try drawPath(consensus: consensus, seed: seed, guards: guards, constraints: constraints)
            return .path(path.map { Hex.text($0.identity.rawBytes) })
        } catch {
            return switch error {
            case .noUsableGuard: .failure("noUsableGuard")
            case .noLastHop: .failure("noLastHop")
            case .tooFewUnrelatedRouters: .failure("tooFewUnrelatedRouters")
            }
        }
    }
}

/// Hexadecimal text, as vectors have it.
enum Hex {
    static func bytes(_ text: String) -> [UInt8] {
        let digits = text.utf8.map { UInt8(Character(Unicode.Scalar($0)).hexDigitValue ?? 0) }
        return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
    static func bytes32(_ text: String) throws -> Bytes32 { try #require(Bytes32(self.bytes(text))) }
    static func key(_ text: String) throws -> Ed25519PublicKey { Ed25519PublicKey(try self.bytes32(text)) }
    static func text(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
