import DirectoryClient
import Logging
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
        self.endpoint = Endpoint(address: .v4(0x0808_0001 + UInt32(index) << 16), port: 9001)
    }

    private struct NoKey: Error {}
    private static func present<Key>(_ key: Key?) throws -> Key {
        guard let key else { throw NoKey() }
        return key
    }
}

/// A router's process: the real loops, circuits, exits and standing with the directory, over simulated connections.
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
    /// Whether its threads for handshakes do nothing.
    var isMute: Bool {
        get { self.threads.isMute }
        set { self.threads.isMute = newValue }
    }
    private let threads = Threads()
    private var directoryTask: Task<Void, Never>?
    /// Whether what keeps its standing with the directory has ended, and why if not because it was told to.
    private(set) var directoryEnd: Result<Void, any Error>?

    /// - Parameters:
    ///   - connect: opens a connection to the directory.
    ///   - onFailure: called when the process would end, for it could not register when it began.
    init(
        _ keys: RouterIdentity, name: String, loopCount: Int, clock: SimulatedClock, in simulation: Simulation,
        names: any NameService, open: @escaping ExitConnector.Open, dial: @escaping LinkTransport.Dial,
        connect: @escaping @Sendable (SimulatedLoop) async throws -> DirectoryConnection,
        onFailure: @escaping @Sendable () -> Void
    ) throws {
        self.keys = keys
        self.name = name
        let loops = (0..<loopCount).map { SimulatedLoop("\(name).\($0)", in: simulation) }
        self.group = SimulatedGroup(loops)
        let view = NetworkView(consensus: nil)
        var connector = ExitConnector(
            resolver: names, gate: ExitGate(policy: keys.listedPolicy, isOwn: { _ in false }),
            directory: DirectoryIdentity.host, directoryPort: DirectoryIdentity.endpoint.port)
        connector.open = open
        self.shared = RouterShared(
            identity: keys.identity.publicKey, group: self.group,
            handshakes: HandshakeService(
                identity: keys.identity.publicKey, onionKeys: [keys.onionKey], limits: view.handshakeLimits,
                metrics: Self.metrics,
                executor: { [threads] work in
                    guard !threads.isMute else { return }
                    simulation.schedule(on: loops[0], at: simulation.now + .microseconds(300), work)
                }),
            connector: connector, dial: dial,
            admission: RouterAdmission(
                view: view, directory: nil, descriptorCount: 65_536, metrics: Self.metrics),
            metrics: Self.metrics, view: view)
        for loop in loops { simulation.on(loop) { self.shared.start(on: loop) } }
        let directory = RouterDirectory(
            configuration: RouterConfiguration(
                directoryHost: DirectoryIdentity.host, directoryPort: DirectoryIdentity.endpoint.port,
                directoryKey: try DirectoryIdentity.make().key.publicKey, identityKey: keys.identity,
                listen: keys.endpoint, nickname: "router\(keys.index)", exitPolicy: keys.listedPolicy,
                // A directory that is not there: nothing can be kept, as on a disk that is full.
                stateDirectory: "/nonexistent"),
            linkKey: keys.linkKey, shared: self.shared,
            keys: KeptOnionKeys(
                OnionKeyRing(current: .init(secret: keys.onionKey, made: Simulation.startOfTime), previous: nil),
                store: RouterKeyStore(directory: "/nonexistent")),
            addresses: { _ in [keys.endpoint] }, outside: clock.outside(on: loops[0]),
            logger: Logger(label: "faults") { _ in SwiftLogNoOpLogHandler() },
            connect: { try await connect(loops[0]) }, onReady: {})
        self.directoryTask = Task(executorPreference: loops[0]) {
            do {
                self.directoryEnd = .success(try await directory.run())
            } catch {
                self.directoryEnd = error is CancellationError ? .success(()) : .failure(error)
                if !(error is CancellationError) { onFailure() }
            }
        }
    }

    /// End as a process that is asked to, or let one that was killed show what it held.
    func stop(_ simulation: Simulation) {
        self.directoryTask?.cancel()
        self.shared.stopAccepting()
        _ = self.onEachLoop(simulation) { $0.stop() }
    }

    /// Those that answer handshakes.
    private final class Threads: @unchecked Sendable {
        // @unchecked: as the simulation.
        var isMute = false
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
