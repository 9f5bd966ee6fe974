import GRDB
import Logging
import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionStreams

@testable import DirectoryClient
@testable import DirectoryServer
@testable import OnionClient
@testable import OnionLink
@testable import OnionRouter

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A directory server, four routers, a client, applications and destinations, all of them real but for the sockets between
/// them.
final class SimulatedNetwork: @unchecked Sendable {
    // @unchecked: as the simulation.

    let plan: FaultPlan
    let simulation: Simulation
    /// Where applications and destinations live.
    let world: SimulatedLoop
    private(set) var client: ClientCore
    let clientLoop: SimulatedLoop
    private(set) var isClientAlive = true
    private(set) var routers: [SimulatedRouter] = []
    /// Processes that have ended, to be looked into.
    private(set) var deadRouters: [SimulatedRouter] = []
    private(set) var wires: [Wire] = []
    /// The directory server's processes, one after the other; the last one may be alive.
    private(set) var directories: [SimulatedDirectory] = []
    private var admission = Admission.open
    /// The directory's disk outlives it.
    private let store: RegistryStore
    private let parameters: NetworkParameters
    let clocks: [SimulatedClock]
    private var clientTask: Task<Void, Never>?
    private(set) var isClientTaskOver = false
    private(set) var transfers: [Transfer]

    private(set) var outcomes: [Int: [Outcome]] = [:]
    private(set) var answers: [Int: Int] = [:]
    private(set) var lies: [String] = []
    private(set) var endedAt: [Int: NIODeadline] = [:]

    private(set) var deliveryCount = 0
    private(set) var applied: [FaultPlan.Fault] = []
    private var isHealed = false
    var onDelivery: (Int) -> Void = { _ in }

    private var destinations = DestinationMode.answering
    private let names: SimulatedNames

    enum DestinationMode { case answering, refusing, silent }

    /// - Parameter changes: of network parameters, beside those that make all of this quick.
    init(plan: FaultPlan, keepsLines: Bool = false, parameters changes: [(NetworkParameter, Int)] = []) throws {
        self.plan = plan
        self.transfers = plan.transfers
        self.simulation = Simulation(keepsLines: keepsLines)
        self.world = SimulatedLoop("world", in: self.simulation)
        self.names = SimulatedNames()
        let simulation = self.simulation
        self.clocks = (0...Self.lastNode).map { SimulatedClock(in: simulation, seed: plan.seed &+ 7 &* UInt64($0)) }
        self.store = try RegistryStore(path: ":memory:")
        self.parameters = try Self.makeParameters(changes)
        let loop = SimulatedLoop("client", in: self.simulation)
        self.clientLoop = loop
        var configuration = OnionClient.Configuration(
            directoryHost: DirectoryIdentity.host, directoryPort: DirectoryIdentity.endpoint.port,
            directoryKey: try DirectoryIdentity.make().key.publicKey,
            // A directory that is not there: nothing can be kept, as on a disk that is full.
            stateDirectory: "/nonexistent")
        configuration.limits.cleanCircuitCount = 1
        let clock = self.clocks[Self.clientNode]
        self.client = simulation.on(loop) {
            ClientCore(
                eventLoop: loop, configuration: configuration, board: ProgressBoard(), logger: Self.logger,
                unixTime: { clock.unixSeconds }, randomBytes: { clock.randomBytes() })
        }
    }

    private static let logger = Logger(label: "faults") { _ in SwiftLogNoOpLogHandler() }

    /// How long a link without a circuit stays.
    static let linkIdleTime = TimeAmount.seconds(5)
    /// Nodes with clocks: the routers come first.
    static let directoryNode = FaultPlan.routerCount
    static let clientNode = FaultPlan.routerCount + 1
    private static let lastNode = clientNode

    private static func makeParameters(_ changes: [(NetworkParameter, Int)]) throws -> NetworkParameters {
        var parameters = NetworkParameters.testNetwork
        let shorter: [(NetworkParameter, Int)] = [
            (.linkIdle, Int(Self.linkIdleTime.nanoseconds / 1_000_000_000)), (.consensusFresh, 60),
            (.consensusResign, 30), (.consensusValid, 300),
        ]
        for (parameter, value) in shorter + changes { try parameters.set(parameter, to: value) }
        return parameters
    }

    // MARK: Life

    /// Start everything, and wait until the network is there; then begin.
    ///
    /// - Returns: whether it came about in time.
    func start() throws -> Bool {
        try self.startDirectory()
        for index in 0..<FaultPlan.routerCount { try self.startRouter(.numbered(index)) }
        self.startClient()
        self.simulation.run(until: self.simulation.now + Self.startTimeLimit) { self.isWhole }
        for transfer in self.plan.transfers { self.begin(transfer, after: transfer.startsAfter) }
        return self.isWhole
    }

    /// From nothing to a client that knows all routers.
    static let startTimeLimit = TimeAmount.seconds(30)

    private func startDirectory() throws {
        self.directories.append(
            try SimulatedDirectory(
                .make(), parameters: self.parameters, admission: self.admission, store: self.store,
                clock: self.clocks[Self.directoryNode], in: self.simulation
            ) { [unowned self] in await self.probe($0, on: $1) })
        self.simulation.log("directory started")
    }

    /// The directory server, if it lives.
    var directory: SimulatedDirectory? { self.directories.last { $0.state == .running } }

    private func startClient() {
        let (loop, client) = (self.clientLoop, self.client)
        let clock = self.clocks[Self.clientNode]
        let directory = self.simulation.on(loop) {
            client.start { endpoint, linkKey, owner in
                self.dial(endpoint, linkKey, from: nil, on: loop, owner: owner)
            }
            return ClientDirectory(
                core: NIOLoopBoundBox(client, eventLoop: loop), eventLoop: loop, configuration: client.configuration,
                board: client.board, logger: Self.logger, onAlarm: { _ in },
                ways: ClientDirectory.Ways(
                    direct: { try await self.connectToDirectory(from: "client", ownKey: nil, clock, on: loop) },
                    through: { try await self.connect(through: $0, clock) }),
                outside: clock.outside(on: loop))
        }
        self.clientTask = Task(executorPreference: loop) {
            do {
                try await directory.run()
            } catch is CancellationError {
            } catch {
                self.lies.append("the client ended: \(error)")
            }
            self.isClientTaskOver = true
        }
    }

    private func startRouter(_ keys: RouterIdentity) throws {
        let name = "r\(keys.index)"
        let clock = self.clocks[keys.index]
        let router = try SimulatedRouter(
            keys, name: name, loopCount: self.plan.loopsPerRouter, clock: clock, in: self.simulation,
            names: self.names,
            open: { [unowned self] endpoint, _, _, timeLimit, loop in
                self.connect(to: endpoint, within: timeLimit, from: name, on: loop)
            },
            dial: { [unowned self] endpoint, linkKey, loop, owner in
                self.dial(endpoint, linkKey, from: name, on: loop, owner: owner)
            },
            connect: { [unowned self] loop in
                try await self.connectToDirectory(from: name, ownKey: keys.linkKey, clock, on: loop)
            },
            onFailure: { [unowned self] in
                self.later(.zero) { self.end(keys) }
            })
        self.routers.removeAll { $0.keys.index == keys.index }
        self.routers.append(router)
        self.routers.sort { $0.keys.index < $1.keys.index }
        self.simulation.log("\(name) started")
    }

    /// Whether the loop is one of a process that has ended: nothing of it reaches anybody.
    func isDead(_ loop: SimulatedLoop) -> Bool {
        if loop === self.clientLoop { return !self.isClientAlive }
        if self.directories.contains(where: { $0.loop === loop && $0.state == .dead }) { return true }
        return self.deadRouters.contains { $0.group.loops.contains { $0 === loop } }
    }

    func router(named name: String?) -> SimulatedRouter? { self.routers.first { $0.name == name } }

    // MARK: Connections

    /// Dial a router, as a process that is named or, with none, the client.
    private func dial(
        _ endpoint: Endpoint, _ linkKey: Ed25519PublicKey, from name: String?, on loop: any EventLoop,
        owner: any LinkOwner
    ) -> EventLoopFuture<NIOLoopBound<Link>> {
        let promise = loop.makePromise(of: NIOLoopBound<Link>.self)
        guard let loop = loop as? SimulatedLoop else { return promise.futureResult }
        let source = self.router(named: name)
        if self.isDead(loop) || source?.isExhausted ?? false {
            promise.fail(IOError(errnoCode: EMFILE, reason: "socket"))
            return promise.futureResult
        }
        let latency = self.plan.latency
        let target = self.routers.first { $0.keys.endpoint == endpoint }
        switch target?.state {
        case .vanished:
            _ = loop.scheduleTask(in: LinkTransport.connectTimeLimit) {
                promise.fail(ChannelError.connectTimeout(LinkTransport.connectTimeLimit))
            }
            return promise.futureResult
        case .dead, nil:
            _ = loop.scheduleTask(in: latency * 2) { promise.fail(IOError(errnoCode: ECONNREFUSED, reason: "connect")) }
            return promise.futureResult
        case .running: break
        }
        guard let target else { return promise.futureResult }
        let boundOwner = NIOLoopBound(owner, eventLoop: loop)
        self.openLink(to: target, named: "\(name ?? "client")-\(target.name)", on: loop) { near in
            guard let near else { return promise.fail(IOError(errnoCode: ECONNRESET, reason: "connect")) }
            let link = self.attachLink(
                to: near, ownKey: source?.keys.linkKey, expecting: linkKey, owner: boundOwner.value)
            promise.succeed(NIOLoopBound(link, eventLoop: loop))
            near.activate()
        }
        return promise.futureResult
    }

    /// Connect to a router's socket.
    ///
    /// - Parameter connected: gets the near end; nil when the connection broke before it stood.
    @discardableResult
    func openLink(
        to target: SimulatedRouter, named wireName: String, on loop: SimulatedLoop,
        connected: @escaping @Sendable (SimulatedChannel?) -> Void
    ) -> SimulatedChannel {
        let latency = self.plan.latency
        let farLoop = target.group.nextSimulated()
        let options = SimulatedChannel.Options(readByteCount: self.plan.readByteCount)
        let near = SimulatedChannel(wireName, on: loop, options: options)
        let far = SimulatedChannel(wireName, on: farLoop, options: options)
        self.add(.link, wireName, near, far)
        // The kernel accepts even for a process that stands still; its words come when it moves again.
        self.simulation.schedule(on: farLoop, at: self.simulation.now + latency) {
            guard !target.isExhausted, let owner = target.shared.loop(farLoop)?.local else { return far.abort() }
            self.attachLink(to: far, ownKey: target.keys.linkKey, expecting: nil, owner: owner)
            far.activate()
        }
        self.simulation.schedule(on: loop, at: self.simulation.now + latency * 2) {
            connected(near.isOpen ? near : nil)
        }
        return near
    }

    @discardableResult
    private func attachLink(
        to channel: SimulatedChannel, ownKey: Ed25519PublicKey?, expecting expected: Ed25519PublicKey?,
        owner: any LinkOwner
    ) -> Link {
        let peer = PeerKey()
        let link = Link(
            channel: channel, isDialler: expected != nil, peer: peer, owner: owner,
            limits: LinkLimits(self.parameters), netInfo: { _ in .anonymous })
        let pipeline = channel.pipeline.syncOperations
        do {
            try pipeline.addHandlers([
                SimulatedTLS(.link, isDialler: expected != nil, ownKey: ownKey, expected: expected, peer: peer),
                NegotiationGuard(expecting: .link), link,
            ])
        } catch {
            channel.abort()
        }
        return link
    }

    func add(_ kind: Wire.Kind, _ name: String, _ near: SimulatedChannel, _ far: SimulatedChannel) {
        // Two ends on one machine.
        let latency = kind == .pair ? .zero : self.plan.latency
        self.wires.append(
            Wire(kind, name, from: near, to: far, latency: latency, in: self.simulation) { [unowned self] _ in
                self.deliveryCount += 1
                self.onDelivery(self.deliveryCount)
            })
    }

    /// Connect an exit to a destination, which the last byte of its address names.
    private func connect(
        to endpoint: Endpoint, within timeLimit: TimeAmount, from name: String, on loop: any EventLoop
    ) -> EventLoopFuture<any Channel> {
        if endpoint == DirectoryIdentity.endpoint, let loop = loop as? SimulatedLoop {
            return self.openToDirectory(from: name, on: loop, readsByItself: false) { _ in }
        }
        guard let loop = loop as? SimulatedLoop, case .v4(let address) = endpoint.address,
            let transfer = self.transfers.first(where: { $0.index == Int(address & 255) })
        else { return loop.makeFailedFuture(IOError(errnoCode: EHOSTUNREACH, reason: "connect")) }
        let promise = loop.makePromise(of: (any Channel).self)
        if self.isDead(loop) || self.router(named: name)?.isExhausted ?? false {
            promise.fail(IOError(errnoCode: EMFILE, reason: "socket"))
            return promise.futureResult
        }
        let latency = self.plan.latency
        switch self.destinations {
        case .refusing:
            _ = loop.scheduleTask(in: latency * 2) { promise.fail(IOError(errnoCode: ECONNREFUSED, reason: "connect")) }
            return promise.futureResult
        case .silent:
            _ = loop.scheduleTask(in: timeLimit) { promise.fail(ChannelError.connectTimeout(timeLimit)) }
            return promise.futureResult
        case .answering: break
        }
        let wireName = "\(name)-d\(transfer.index)"
        let near = SimulatedChannel(
            wireName, on: loop,
            options: .init(readsByItself: false, allowsHalfClosure: true, readByteCount: self.plan.readByteCount))
        let far = SimulatedChannel(wireName, on: self.world, options: .init(allowsHalfClosure: true))
        self.add(.destination, wireName, near, far)
        self.simulation.schedule(on: self.world, at: self.simulation.now + latency) {
            try? far.pipeline.syncOperations.addHandler(Destination(transfer) { self.lies.append($0) })
            far.activate()
        }
        self.simulation.schedule(on: loop, at: self.simulation.now + latency * 2) {
            guard near.isOpen else { return promise.fail(IOError(errnoCode: ECONNRESET, reason: "connect")) }
            near.activate()
            promise.succeed(near)
        }
        return promise.futureResult
    }

    // MARK: Transfers

    /// Let an application connect to the proxy and ask for its destination.
    func begin(_ transfer: Transfer, after delay: TimeAmount) {
        if !self.transfers.contains(where: { $0.index == transfer.index }) { self.transfers.append(transfer) }
        let name = "a\(transfer.index)"
        let near = SimulatedChannel(
            name, on: self.clientLoop,
            options: .init(readsByItself: false, allowsHalfClosure: true, readByteCount: self.plan.readByteCount))
        let far = SimulatedChannel(
            name, on: self.world, options: .init(readsByItself: !transfer.isSlow, allowsHalfClosure: true))
        self.add(.application, name, near, far)
        let application = Application(transfer) { outcome in
            self.simulation.log("\(name) \(outcome)")
            self.outcomes[transfer.index, default: []].append(outcome)
            self.endedAt[transfer.index] = self.simulation.now
        }
        let bound = NIOLoopBound(application, simulatedOn: self.world, self.simulation)
        let start = self.simulation.now + delay
        self.simulation.schedule(on: self.world, at: start) {
            // The proxy has died before.
            guard self.isClientAlive else { return self.outcomes[transfer.index] = [.reset(0)] }
            try? far.pipeline.syncOperations.addHandler(bound.value)
            far.activate()
        }
        self.simulation.schedule(on: self.clientLoop, at: start) {
            guard near.isOpen else { return }
            let waiter = Waiter()
            try? near.pipeline.syncOperations.addHandler(waiter)
            near.activate()
            self.request(transfer, for: near, waiter) { reason in
                self.simulation.schedule(on: self.world, at: self.simulation.now) { bound.value.refused(reason) }
            }
        }
    }

    private func request(
        _ transfer: Transfer, for channel: SimulatedChannel, _ waiter: Waiter,
        onRefusal: @escaping @Sendable (String) -> Void
    ) {
        let promise = self.clientLoop.makePromise(of: OpenedStream.self)
        let request = PendingRequest(
            .stream(
                .host("d\(transfer.index).test", port: 443),
                earlyData: transfer.request.buffer(from: 0, count: transfer.earlyByteCount), promise),
            wish: .port(443), isolation: IsolationKey(protocolName: "test", username: [UInt8(transfer.user)]),
            deadline: self.simulation.now + self.client.limits.requestPatience, limits: self.client.limits,
            owner: self.client)
        let bound = NIOLoopBound(waiter, eventLoop: self.clientLoop)
        promise.futureResult.whenComplete { result in
            self.answers[transfer.index, default: 0] += 1
            switch result {
            case .success(let stream):
                self.simulation.log("a\(transfer.index) connected")
                // An application that has gone meanwhile.
                guard channel.isActive else { return stream.discard() }
                stream.attach(to: channel).whenSuccess { bound.value.handOver() }
            case .failure(let error):
                self.simulation.log("a\(transfer.index) \(error)")
                onRefusal("\(error)")
                channel.close(promise: nil)
            }
        }
        self.client.addNew(request)
    }

    /// Whether every application has come to an end.
    var isQuiet: Bool { self.outcomes.count == self.transfers.count }

    // MARK: Faults

    private func pick<T>(_ number: Int, of candidates: [T]) -> T? {
        candidates.isEmpty ? nil : candidates[number % candidates.count]
    }

    /// Connections that have been begun and not ended.
    func openWires(_ kind: Wire.Kind) -> [Wire] {
        self.wires.filter { $0.kind == kind && $0.isOpen && (kind == .link || $0.far.isActive) }
    }
    private var runningRouters: [SimulatedRouter] { self.routers.filter { $0.state == .running } }

    private func later(_ time: TimeAmount, _ body: @escaping @Sendable () -> Void) {
        self.simulation.schedule(on: self.world, at: self.simulation.now + time, body)
    }

    /// Let it go wrong.
    func apply(_ fault: FaultPlan.Fault) {
        // One that was due in the moment in which all ended comes too late.
        guard !self.isHealed, self.isPossible(fault) else { return }
        self.applied.append(fault)
        self.simulation.log("fault \(fault)")
        switch fault {
        case .cutLink(let number): self.pick(number, of: self.openWires(.link))?.cut()
        case .halfCloseLink(let number, let side):
            guard let wire = self.pick(number, of: self.openWires(.link)) else { return }
            if side != .backward { wire.forward.finish() }
            if side != .forward { wire.backward.finish() }
        case .freezeLink(let number, let side, let time):
            guard let wire = self.pick(number, of: self.openWires(.link)) else { return }
            self.freeze(wire, side, for: time)
        case .delayLink(let number, let delay):
            guard let wire = self.pick(number, of: self.openWires(.link)) else { return }
            wire.forward.latency = wire.forward.latency + delay
            wire.backward.latency = wire.backward.latency + delay
        case .severLink(let number): self.pick(number, of: self.openWires(.link))?.sever()
        case .killRouter(let number, let restart): self.kill(number, vanishing: false, restart)
        case .vanishRouter(let number): self.kill(number, vanishing: true, nil)
        case .stopRouter(let number, let restart): self.stop(number, restart)
        case .freezeRouter(let number, let time):
            guard let router = self.pick(number, of: self.runningRouters) else { return }
            for loop in router.group.loops { loop.freeze() }
            self.later(time) { for loop in router.group.loops { loop.thaw() } }
        case .exhaustRouter(let number, let time):
            guard let router = self.pick(number, of: self.runningRouters) else { return }
            router.isExhausted = true
            self.later(time) { router.isExhausted = false }
        case .freezeClient(let time):
            self.clientLoop.freeze()
            self.later(time) { self.clientLoop.thaw() }
        case .killClient: self.killClient()
        case .refuseRouter(let number, let time): self.refuse(number % FaultPlan.routerCount, for: time)
        case .cutApplication(let number): self.pick(number, of: self.openWires(.application))?.cut()
        case .cutDestination(let number): self.pick(number, of: self.openWires(.destination))?.cut()
        case .freezeDestination(let number, let time):
            guard let wire = self.pick(number, of: self.openWires(.destination)) else { return }
            self.freeze(wire, .both, for: time)
        case .refusingDestinations(let time):
            self.destinations = .refusing
            self.later(time) { self.destinations = .answering }
        case .silentDestinations(let time):
            self.destinations = .silent
            self.later(time) { self.destinations = .answering }
        case .failingNames(let time):
            self.names.mode = .failing
            self.later(time) { self.names.mode = .answering }
        case .silentNames(let time):
            self.names.mode = .silent
            self.later(time) { self.names.mode = .answering }
        case .clockJump(let number, let seconds):
            // Everybody's, or one node's.
            let node = number % (self.clocks.count + 1)
            for (index, clock) in self.clocks.enumerated() where node == self.clocks.count || index == node {
                clock.error += seconds
            }
        case .killDirectory(let restart): self.killDirectory(restart)
        case .freezeDirectory(let time):
            guard let loop = self.directory?.loop else { return }
            loop.freeze()
            self.later(time) { loop.thaw() }
        case .cutDirectoryLink(let number): self.pick(number, of: self.openWires(.directory))?.cut()
        case .severDirectoryLink(let number): self.pick(number, of: self.openWires(.directory))?.sever()
        case .freezeDirectoryLink(let number, let side, let time):
            guard let wire = self.pick(number, of: self.openWires(.directory)) else { return }
            self.freeze(wire, side, for: time)
        case .fillDirectoryDisk(let time):
            self.setDirectoryDisk(isFull: true)
            self.later(time) { self.setDirectoryDisk(isFull: false) }
        }
    }

    /// Whether there is anything for it to hit.
    private func isPossible(_ fault: FaultPlan.Fault) -> Bool {
        switch fault {
        case .cutLink, .halfCloseLink, .freezeLink, .delayLink, .severLink: !self.openWires(.link).isEmpty
        case .killRouter, .stopRouter, .vanishRouter, .freezeRouter, .exhaustRouter: !self.runningRouters.isEmpty
        case .freezeClient, .killClient: self.isClientAlive
        case .killDirectory, .freezeDirectory: self.directory != nil
        case .cutDirectoryLink, .severDirectoryLink, .freezeDirectoryLink: !self.openWires(.directory).isEmpty
        case .cutApplication: !self.openWires(.application).isEmpty
        case .cutDestination, .freezeDestination: !self.openWires(.destination).isEmpty
        case .refusingDestinations, .silentDestinations, .failingNames, .silentNames, .clockJump,
            .refuseRouter, .fillDirectoryDisk:
            true
        }
    }

    private func freeze(_ wire: Wire, _ side: FaultPlan.Fault.Side, for time: TimeAmount) {
        if side != .backward { wire.forward.freeze() }
        if side != .forward { wire.backward.freeze() }
        self.later(time) {
            guard !wire.isSevered else { return }
            wire.forward.thaw()
            wire.backward.thaw()
        }
    }

    private func kill(_ number: Int, vanishing: Bool, _ restart: TimeAmount?) {
        guard let router = self.pick(number, of: self.runningRouters) else { return }
        router.state = vanishing ? .vanished : .dead
        self.deadRouters.append(router)
        for loop in router.group.loops { loop.kill() }
        for wire in self.wires where wire.isOpen {
            let own = [wire.near, wire.far].filter { channel in router.group.loops.contains { $0 === channel.loop } }
            for channel in own { if vanishing { wire.sever() } else { wire.abandoned(by: channel) } }
        }
        self.restart(router, after: restart)
    }

    private func stop(_ number: Int, _ restart: TimeAmount?) {
        guard let router = self.pick(number, of: self.runningRouters) else { return }
        // One that stands still cannot stop in order.
        guard router.group.loops.allSatisfy({ $0.state == .running }) else { return }
        self.stop(router, restart)
    }

    private func stop(_ router: SimulatedRouter, _ restart: TimeAmount?) {
        router.state = .dead
        self.deadRouters.append(router)
        router.stop(self.simulation)
        self.restart(router, after: restart)
    }

    /// A router could not register when it began: its process ends, and the service manager starts it again.
    private func end(_ keys: RouterIdentity) {
        guard let router = self.routers.first(where: { $0.keys.index == keys.index }), router.state == .running
        else { return }
        self.simulation.log("\(router.name) ended")
        self.stop(router, .seconds(1))
    }

    private func restart(_ router: SimulatedRouter, after time: TimeAmount?) {
        guard let time else { return }
        self.later(time) {
            // All may have been started again meanwhile.
            guard self.routers.contains(where: { $0 === router }) else { return }
            try? self.startRouter(router.keys)
        }
    }

    private func killClient() {
        self.isClientAlive = false
        self.clientLoop.kill()
        for wire in self.wires where wire.isOpen && wire.far.isActive {
            for channel in [wire.near, wire.far] where channel.loop === self.clientLoop {
                wire.abandoned(by: channel)
            }
        }
    }

    private func killDirectory(_ restart: TimeAmount?) {
        guard let directory else { return }
        directory.state = .dead
        directory.loop.kill()
        for wire in self.wires where wire.isOpen {
            for channel in [wire.near, wire.far] where channel.loop === directory.loop { wire.abandoned(by: channel) }
        }
        guard let restart else { return }
        self.later(restart) { if self.directory == nil { try? self.startDirectory() } }
    }

    /// Let the operator take a router's name off the list, and write it down again.
    private func refuse(_ index: Int, for time: TimeAmount) {
        let others = (0..<FaultPlan.routerCount).filter { $0 != index }
            .compactMap { try? RouterIdentity.numbered($0).identity.publicKey }
        self.admission = .listed(Dictionary(uniqueKeysWithValues: others.map { ($0, "") }))
        self.directory?.admit(self.admission)
        self.later(time) {
            self.admission = .open
            self.directory?.admit(.open)
        }
    }

    private func setDirectoryDisk(isFull: Bool) {
        // Whatever is written fails.
        try? self.store.database.inDatabase { try $0.execute(sql: "PRAGMA query_only = \(isFull ? 1 : 0)") }
    }

    // MARK: Afterwards

    /// Who knows whom, for a person to read.
    var lists: String {
        func names(_ isKnown: (Ed25519PublicKey) -> Bool) -> String {
            self.routers.filter { isKnown($0.keys.identity.publicKey) }.map(\.name).joined(separator: ",")
        }
        let views = self.routers.map { router in
            let view = router.shared.view
            return "\(router.name) has \(view.revision): \(names { view.router($0) != nil }) "
                + (router.directoryEnd.map { "ended: \($0)" } ?? "")
        }
        let known = self.client.consensus
        return (views + ["client has \(known?.revision ?? 0): \(names { known?.router($0) != nil })"])
            .joined(separator: "; ")
    }

    /// Let everything work again: what has been lost stays lost.
    func heal() throws {
        self.isHealed = true
        for clock in self.clocks { clock.error = 0 }
        self.setDirectoryDisk(isFull: false)
        self.admission = .open
        if let directory {
            directory.loop.thaw()
            directory.admit(.open)
        } else {
            try self.startDirectory()
        }
        self.destinations = .answering
        self.names.mode = .answering
        self.clientLoop.thaw()
        for router in self.routers where router.state == .running {
            router.isExhausted = false
            for loop in router.group.loops { loop.thaw() }
        }
        for wire in self.wires where !wire.isSevered {
            wire.forward.thaw()
            wire.backward.thaw()
        }
        for router in self.routers where router.state != .running { try self.startRouter(router.keys) }
    }

    /// Whether every router that lives, and the client, knows all routers by a list that is valid now.
    var isWhole: Bool {
        let identities = self.routers.map(\.keys.identity.publicKey)
        let views = self.routers.map(\.shared.view)
        let newest = views.map(\.revision).max()
        guard views.allSatisfy({ view in view.revision == newest && identities.allSatisfy { view.router($0) != nil } })
        else { return false }
        guard self.isClientAlive else { return true }
        guard let known = self.client.consensus, known.isValid(now: self.clocks[Self.clientNode].unixSeconds)
        else { return false }
        return identities.allSatisfy { known.router($0) != nil }
    }

    /// Let dead processes, of which nobody can hear any more, run their farewell: it shows what they held.
    func lookIntoTheDead() {
        let loops =
            self.deadRouters.flatMap(\.group.loops) + self.directories.filter { $0.state == .dead }.map(\.loop)
            + (self.isClientAlive ? [] : [self.clientLoop])
        for loop in loops { loop.revive() }
        for wire in self.wires {
            for channel in [wire.near, wire.far] where loops.contains(where: { $0 === channel.loop }) {
                self.simulation.on(channel.loop) { channel.abort() }
            }
        }
        for router in self.deadRouters { router.stop(self.simulation) }
        for directory in self.directories where directory.state == .dead { directory.stop() }
        self.endClient()
    }

    func endClient() {
        self.clientTask?.cancel()
        self.simulation.on(self.clientLoop) { self.client.shutDown() }
    }

    func stopRouters() {
        for router in self.routers { router.stop(self.simulation) }
        self.directory?.stop()
    }

    /// Streams that the client's circuits have for applications.
    var clientStreamCount: Int {
        let all = self.simulation.on(self.clientLoop) { self.client.circuits.values.reduce(0) { $0 + $1.streamCount } }
        return all - self.directoryStreamCount
    }

    /// Streams over which the client asks its directory, those that are being opened included.
    var directoryStreamCount: Int {
        self.openWires(.pair).count + self.client.trying.values.reduce(0) { $0 + $1.values.count(where: Self.isOwn) }
    }

    /// Whether the client asks something for itself.
    static func isOwn(_ request: PendingRequest) -> Bool { request.wish == .directory }
}

extension NIOLoopBound where Value: AnyObject {
    /// Bind a value that is made before its loop runs.
    init(_ value: Value, simulatedOn loop: SimulatedLoop, _ simulation: Simulation) {
        self = simulation.on(loop) { NIOLoopBound(value, eventLoop: loop) }
    }
}

/// The name servers: `dN.test` is at an address that ends in N.
final class SimulatedNames: NameService, @unchecked Sendable {
    // @unchecked: as the simulation.

    enum Mode { case answering, failing, silent }

    var mode = Mode.answering

    /// What c-ares takes for a server that says nothing: two tries of two seconds, and here longer than an exit waits.
    private static let patience = TimeAmount.seconds(8)

    func addresses(of name: String, on eventLoop: any EventLoop) -> EventLoopFuture<Resolver.Answer> {
        let promise = eventLoop.makePromise(of: Resolver.Answer.self)
        let digits = name.dropFirst().prefix { $0 != "." }
        switch (self.mode, UInt32(digits)) {
        case (.answering, let index?):
            _ = eventLoop.scheduleTask(in: .milliseconds(5)) {
                promise.succeed(Resolver.Answer(addresses: [.v4(0x5db8_7100 + index)], ttlSeconds: 60))
            }
        case (.failing, _), (.answering, nil):
            _ = eventLoop.scheduleTask(in: .milliseconds(5)) { promise.fail(Resolver.Failure.failed) }
        case (.silent, _):
            _ = eventLoop.scheduleTask(in: Self.patience) { promise.fail(Resolver.Failure.failed) }
        }
        return promise.futureResult
    }

    func name(of address: IPAddress, on eventLoop: any EventLoop) -> EventLoopFuture<String> {
        eventLoop.makeFailedFuture(Resolver.Failure.noSuchName)
    }

    func update(pendingLimit: Int) {}
}
