import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory

@testable import OnionLink
@testable import OnionRouter

/// A network of the OR under test and two others, made once: keys take their time.
struct RouterFixture: Sendable {
    /// An OR that the fuzzer plays.
    struct Neighbour: Sendable {
        let identity: Ed25519PublicKey
        let linkKey: Ed25519PublicKey
        let handshakes: HandshakePool
    }

    let identity: Ed25519PublicKey
    /// Of no OR in the network.
    let stranger: Ed25519PublicKey
    /// A client's with the OR under test.
    let handshakes: HandshakePool
    let neighbours: [Neighbour]
    /// The network, and the same without the second neighbour.
    let views: [NetworkView]
    let transport: LinkTransport
    let metrics = RouterMetrics()
    /// Looks nothing up, and says so at once.
    let resolver: Resolver

    static let shared: RouterFixture = {
        guard let fixture = try? RouterFixture() else { preconditionFailure("no network") }
        return fixture
    }()

    private struct NoKey: Error {}

    private static func key(_ number: UInt8) throws -> Ed25519PrivateKey {
        guard let key = Ed25519PrivateKey(seed: [UInt8](repeating: number, count: 32)) else { throw NoKey() }
        return key
    }

    private init() throws {
        var routers: [ConsensusRouter] = []
        var neighbours: [Neighbour] = []
        for number in UInt8(1)...2 {
            let key = try Self.key(number)
            guard let onionKey = X25519PrivateKey(seed: [UInt8](repeating: number, count: 32)) else { throw NoKey() }
            let linkKey = try Self.key(number + 10).publicKey
            routers.append(
                ConsensusRouter(
                    descriptor: try RouterDescriptor(
                        identity: key.publicKey, linkKey: linkKey, onionKey: onionKey.publicKey,
                        onionKeyValidUntil: 1_800_000_000, published: 1_790_000_000, sequence: 1,
                        addresses: [Endpoint(address: .v4(0x0506_0700 + UInt32(number)), port: 9001)],
                        nickname: "r\(number)"
                    ).signed(by: key), flags: [.guard, .exit], weight: 1))
            neighbours.append(
                Neighbour(
                    identity: key.publicKey, linkKey: linkKey,
                    handshakes: try HandshakePool(identity: key.publicKey, onionKey: onionKey)))
        }
        guard let onionKey = X25519PrivateKey(seed: [UInt8](repeating: 9, count: 32)) else { throw NoKey() }
        self.identity = try Self.key(9).publicKey
        self.stranger = try Self.key(30).publicKey
        self.handshakes = try HandshakePool(identity: self.identity, onionKey: onionKey)
        self.neighbours = neighbours
        var parameters = NetworkParameters()
        // The clock of the rates is the machine's: only without them is an input the same each time.
        try parameters.set(.createsPerSecond, to: 1_000_000)
        try parameters.set(.beginsPerSecond, to: 1_000_000)
        let directoryKey = try Self.key(20)
        self.views = try [routers, Array(routers.prefix(1))].enumerated().map { number, routers in
            NetworkView(
                consensus: try Consensus.make(
                    revision: 1 + UInt64(number), validAfter: 1_790_000_000, freshUntil: 1_790_003_600,
                    validUntil: 1_790_010_800, parameters: parameters, routers: routers, signedBy: directoryKey))
        }
        self.transport = try LinkTransport(credentials: nil, limits: self.views[0].linkLimits) { _ in .anonymous }
        self.resolver = try Resolver(servers: [Endpoint(address: .v4(0x7f00_0001), port: 1)])
        self.resolver.stop()
    }

    /// What the event loops of an OR share. Nothing is dialled: it has no event loops that could.
    func makeShared(on eventLoop: any EventLoop) -> RouterShared {
        RouterShared(
            identity: self.identity, group: eventLoop,
            handshakes: HandshakeService(
                limits: self.views[0].handshakeLimits, metrics: self.metrics, executor: { $0() },
                respond: self.handshakes.makeResponder()),
            connector: ExitConnector(
                resolver: self.resolver, gate: ExitGate(policy: .rejectAll, isOwn: { _ in false }),
                directory: "directory.invalid", directoryPort: 9030),
            dial: { self.transport.dial($0, linkKey: $1, on: $2, owner: $3) },
            admission: RouterAdmission(
                view: self.views[0], directory: nil, descriptorCount: 1024, metrics: self.metrics),
            metrics: self.metrics, view: self.views[0])
    }
}
