import Logging
import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory

@testable import DirectoryServer
@testable import OnionLink

/// What a directory server has for ever: its keys, its clock and its disk.
struct DirectoryIdentity {
    let key: Ed25519PrivateKey
    let linkKey: Ed25519PrivateKey

    static let endpoint = Endpoint(address: .v4(0xc000_0201), port: 9030)
    static let host = "192.0.2.1"

    private static let made = Result { () throws(NoKey) in
        guard let key = Ed25519PrivateKey(seed: [UInt8](repeating: 9, count: 32)),
            let linkKey = Ed25519PrivateKey(seed: [UInt8](repeating: 10, count: 32))
        else { throw NoKey() }
        return DirectoryIdentity(key: key, linkKey: linkKey)
    }
    private struct NoKey: Error {}

    static func make() throws -> DirectoryIdentity { try Self.made.get() }
}

/// The directory server's process: the real registry, sessions and store, over simulated connections.
final class SimulatedDirectory: @unchecked Sendable {
    // @unchecked: as the simulation.

    enum State { case running, dead }

    let loop: SimulatedLoop
    var state = State.running
    /// Tasks of the process that have not ended.
    private(set) var taskCount = 0
    private let simulation: Simulation
    private let identity: DirectoryIdentity
    private let server: DirectoryServer
    private let core: DirectoryCore
    private let answers = AnswerBudget(limit: 1 << 20, metrics: ServerMetrics())
    private var tasks: [Task<Void, Never>] = []

    /// - Parameter probe: how it reaches a router.
    init(
        _ identity: DirectoryIdentity, parameters: NetworkParameters, admission: Admission, store: RegistryStore,
        clock: SimulatedClock, in simulation: Simulation,
        probe: @escaping @Sendable (RouterDescriptor, SimulatedLoop) async -> ProbeOutcome
    ) throws {
        let loop = SimulatedLoop("directory", in: simulation)
        self.loop = loop
        self.simulation = simulation
        self.identity = identity
        let logger = Logger(label: "faults") { _ in SwiftLogNoOpLogHandler() }
        self.server = try DirectoryServer(
            configuration: .init(
                host: DirectoryIdentity.host, port: DirectoryIdentity.endpoint.port, directoryKey: identity.key,
                linkKey: identity.linkKey, routers: .anyone, parameters: parameters, databasePath: ""),
            probing: Probing { await probe($0, loop) }, group: SimulatedGroup([loop]), outside: clock.outside(on: loop),
            logger: logger, listening: { _ in })
        let (core, probes) = try self.server.makeCore(admission: admission, store: store)
        self.core = core
        let server = self.server
        self.run { await server.work(core, probes) }
    }

    private struct Probing: RouterProbing {
        let body: @Sendable (RouterDescriptor) async -> ProbeOutcome
        func probe(_ descriptor: RouterDescriptor) async -> ProbeOutcome { await self.body(descriptor) }
    }

    private func run(_ body: @escaping @Sendable () async -> Void) {
        self.taskCount += 1
        self.tasks.append(
            Task(executorPreference: self.loop) {
                await body()
                self.taskCount -= 1
            })
    }

    /// A connection has come.
    func accept(_ channel: SimulatedChannel) {
        let peer = PeerKey()
        let connection: DirectoryServer.Connection
        do {
            try channel.pipeline.syncOperations.addHandlers([
                SimulatedTLS(.directory, isDialler: false, ownKey: self.identity.linkKey.publicKey, peer: peer),
                NegotiationGuard(expecting: .directory), DirectoryFrameHandler(peer: peer, answers: self.answers),
            ])
            connection = try DirectoryServer.Connection(wrappingChannelSynchronously: channel)
        } catch {
            return channel.abort()
        }
        let (server, core) = (self.server, self.core)
        self.run { await server.serve(connection, core: core) }
        channel.activate()
    }

    func admit(_ admission: Admission) {
        let core = self.core
        self.run { await core.admissionChanged(to: admission) }
    }

    /// End, as a process that is asked to.
    func stop() { for task in self.tasks { task.cancel() } }
}
