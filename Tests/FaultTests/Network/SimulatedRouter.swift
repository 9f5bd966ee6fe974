import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory

@testable import OnionLink
@testable import OnionRouter

/// The keys and the address of a router, the same in every run.
struct RouterIdentity {
    let index: Int
    let identity: Ed25519PrivateKey
    let onionKey: X25519PrivateKey
    let linkKey: Ed25519PublicKey
    let endpoint: Endpoint

    /// Made once: long-lived keys lie in guarded memory, of which a process has only so much.
    private static let all = Result { try (0..<FaultPlan.routerCount).map { try RouterIdentity(index: $0) } }

    static func numbered(_ index: Int) throws -> RouterIdentity { try Self.all.get()[index] }

    private init(index: Int) throws {
        func seed(_ purpose: UInt8) -> [UInt8] { [UInt8](repeating: purpose &+ UInt8(index) &* 16, count: 32) }
        self.index = index
        self.identity = try Self.present(Ed25519PrivateKey(seed: seed(1)))
        self.onionKey = try Self.present(X25519PrivateKey(seed: seed(2)))
        self.linkKey = try Self.present(Ed25519PrivateKey(seed: seed(3))).publicKey
        self.endpoint = Endpoint(address: .v4(0x0a00_0001 + UInt32(index) << 16), port: 9001)
    }

    private struct NoKey: Error {}
    private static func present<Key>(_ key: Key?) throws -> Key {
        guard let key else { throw NoKey() }
        return key
    }

    func listed() throws -> ConsensusRouter {
        let descriptor = RouterDescriptor(
            identity: self.identity.publicKey, linkKey: self.linkKey, onionKey: self.onionKey.publicKey,
            onionKeyValidUntil: 4_000_000_000, published: 1_700_000_000, sequence: 1, addresses: [self.endpoint],
            nickname: "router\(self.index)", exitPolicy: try ExitPolicy(parsing: ["accept *:*"]), country: "")
        return ConsensusRouter(
            descriptor: try descriptor.signed(by: self.identity), flags: [.guard, .exit], weight: 1)
    }
}

/// A router's process: the real loops, circuits and exits, over simulated connections.
final class SimulatedRouter: @unchecked Sendable {
    // @unchecked: as the simulation.

    enum State { case running, dead, vanished }

    private static let metrics = RouterMetrics()

    let keys: RouterIdentity
    let name: String
    let group: SimulatedGroup
    let shared: RouterShared
    var state = State.running
    /// Whether it has no descriptor left.
    var isExhausted = false

    init(
        _ keys: RouterIdentity, name: String, loopCount: Int, consensus: Consensus, in simulation: Simulation,
        names: any NameService, open: @escaping ExitConnector.Open, dial: @escaping LinkTransport.Dial
    ) {
        self.keys = keys
        self.name = name
        let loops = (0..<loopCount).map { SimulatedLoop("\(name).\($0)", in: simulation) }
        self.group = SimulatedGroup(loops)
        let view = NetworkView(consensus: consensus)
        var connector = ExitConnector(
            resolver: names, gate: ExitGate(policy: keys.listedPolicy, ownAddresses: []), directory: "192.0.2.1",
            directoryPort: 9030)
        connector.open = open
        self.shared = RouterShared(
            identity: keys.identity.publicKey, group: self.group,
            handshakes: HandshakeService(
                identity: keys.identity.publicKey, onionKeys: [keys.onionKey], limits: view.handshakeLimits,
                metrics: Self.metrics,
                executor: { work in
                    simulation.schedule(on: loops[0], at: simulation.now + .microseconds(300), work)
                }),
            connector: connector, dial: dial,
            admission: RouterAdmission(
                view: view, directory: nil, descriptorCount: 65_536, metrics: Self.metrics),
            metrics: Self.metrics, view: view)
        for loop in loops { simulation.on(loop) { self.shared.start(on: loop) } }
    }

    /// Run `body` with the part of every loop.
    func onEachLoop<T>(_ simulation: Simulation, _ body: (RouterLoop) -> T) -> [T] {
        self.group.loops.compactMap { loop in
            simulation.on(loop) { self.shared.loop(loop).map { body($0.local) } }
        }
    }
}

extension RouterIdentity {
    /// Everything is allowed: what exits refuse has tests of its own.
    var listedPolicy: ExitPolicy { (try? ExitPolicy(parsing: ["accept *:*"])) ?? .standard }
}
