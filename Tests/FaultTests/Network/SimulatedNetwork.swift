import DirectoryClient
import Logging
import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionStreams

@testable import OnionClient
@testable import OnionLink
@testable import OnionRouter

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A client, four routers, applications and destinations, all of them real but for the sockets between them.
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
    private var consensus: Consensus
    private(set) var transfers: [Transfer]

    private(set) var outcomes: [Int: [Outcome]] = [:]
    private(set) var answers: [Int: Int] = [:]
    private(set) var lies: [String] = []
    private(set) var endedAt: [Int: NIODeadline] = [:]

    private(set) var deliveryCount = 0
    private(set) var applied: [FaultPlan.Fault] = []
    var onDelivery: (Int) -> Void = { _ in }

    private var destinations = DestinationMode.answering
    private let names: SimulatedNames

    enum DestinationMode { case answering, refusing, silent }

    init(plan: FaultPlan, keepsLines: Bool = false) throws {
        self.plan = plan
        self.transfers = plan.transfers
        self.simulation = Simulation(keepsLines: keepsLines)
        self.world = SimulatedLoop("world", in: self.simulation)
        self.names = SimulatedNames()
        self.consensus = try Self.makeConsensus(revision: 1, without: nil)
        let loop = SimulatedLoop("client", in: self.simulation)
        self.clientLoop = loop
        var configuration = OnionClient.Configuration(
            directoryHost: "192.0.2.1", directoryPort: 9030, directoryKey: try Self.directoryKey().publicKey,
            // A directory that is not there: nothing can be kept, as on a disk that is full.
            stateDirectory: "/nonexistent")
        configuration.limits.cleanCircuitCount = 1
        let simulation = self.simulation
        var random = SplitMix64(plan.seed &+ 1)
        self.client = simulation.on(loop) {
            ClientCore(
                eventLoop: loop, configuration: configuration, board: ProgressBoard(),
                logger: Logger(label: "faults") { _ in SwiftLogNoOpLogHandler() },
                unixTime: { simulation.unixTime },
                randomBytes: { Bytes32((0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }) ?? .zero })
        }
    }

    /// How long a link without a circuit stays.
    static let linkIdleTime = TimeAmount.seconds(5)

    private static let key = Ed25519PrivateKey(seed: [UInt8](repeating: 9, count: 32))

    private static func directoryKey() throws -> Ed25519PrivateKey {
        guard let key = Self.key else { throw LinkError.noCredentials }
        return key
    }

    private static func makeConsensus(revision: UInt64, without index: Int?) throws -> Consensus {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.linkIdle, to: Int(Self.linkIdleTime.nanoseconds / 1_000_000_000))
        let routers = try (0..<FaultPlan.routerCount).filter { $0 != index }.map {
            try RouterIdentity.numbered($0).listed()
        }
        return try Consensus.make(
            revision: revision, validAfter: Simulation.startOfTime - 60, freshUntil: Simulation.startOfTime + 3540,
            validUntil: Simulation.startOfTime + 10_000, parameters: parameters, routers: routers,
            signedBy: Self.directoryKey())
    }

    // MARK: Life

    func start() throws {
        for index in 0..<FaultPlan.routerCount { try self.startRouter(.numbered(index)) }
        self.simulation.on(self.clientLoop) {
            self.client.start { endpoint, linkKey, owner in
                self.dial(endpoint, linkKey, from: nil, on: self.clientLoop, owner: owner)
            }
            self.client.adopt(self.consensus)
        }
        for transfer in self.plan.transfers { self.begin(transfer, after: transfer.startsAfter) }
    }

    private func startRouter(_ keys: RouterIdentity) throws {
        let name = "r\(keys.index)"
        var router: SimulatedRouter?
        let made = SimulatedRouter(
            keys, name: name, loopCount: self.plan.loopsPerRouter, consensus: self.consensus, in: self.simulation,
            names: self.names,
            open: { [unowned self] endpoint, _, _, timeLimit, loop in
                self.connect(to: endpoint, within: timeLimit, from: name, on: loop)
            },
            dial: { [unowned self] endpoint, linkKey, loop, owner in
                self.dial(endpoint, linkKey, from: name, on: loop, owner: owner)
            })
        router = made
        guard let router else { return }
        self.routers.removeAll { $0.keys.index == keys.index }
        self.routers.append(router)
        self.routers.sort { $0.keys.index < $1.keys.index }
        self.simulation.log("\(name) started")
    }

    /// Whether the loop is one of a process that has ended: nothing of it reaches anybody.
    private func isDead(_ loop: SimulatedLoop) -> Bool {
        if loop === self.clientLoop { return !self.isClientAlive }
        return self.deadRouters.contains { $0.group.loops.contains { $0 === loop } }
    }

    private func router(named name: String?) -> SimulatedRouter? { self.routers.first { $0.name == name } }

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
        let farLoop = target.group.nextSimulated()
        let wireName = "\(name ?? "client")-\(target.name)"
        let options = SimulatedChannel.Options(readByteCount: self.plan.readByteCount)
        let near = SimulatedChannel(wireName, on: loop, options: options)
        let far = SimulatedChannel(wireName, on: farLoop, options: options)
        self.wires.append(self.wire(.link, wireName, near, far))
        let boundOwner = NIOLoopBound(owner, eventLoop: loop)
        // The kernel accepts even for a process that stands still; its words come when it moves again.
        self.simulation.schedule(on: farLoop, at: self.simulation.now + latency) {
            guard !target.isExhausted, let owner = target.shared.loop(farLoop)?.local else { return far.abort() }
            self.attachLink(to: far, ownKey: target.keys.linkKey, expecting: nil, owner: owner)
            far.activate()
        }
        self.simulation.schedule(on: loop, at: self.simulation.now + latency * 2) {
            guard near.isOpen else { return promise.fail(IOError(errnoCode: ECONNRESET, reason: "connect")) }
            let link = self.attachLink(
                to: near, ownKey: source?.keys.linkKey, expecting: linkKey, owner: boundOwner.value)
            promise.succeed(NIOLoopBound(link, eventLoop: loop))
            near.activate()
        }
        return promise.futureResult
    }

    @discardableResult
    private func attachLink(
        to channel: SimulatedChannel, ownKey: Ed25519PublicKey?, expecting expected: Ed25519PublicKey?,
        owner: any LinkOwner
    ) -> Link {
        let peer = PeerKey()
        let link = Link(
            channel: channel, isDialler: expected != nil, peer: peer, owner: owner,
            limits: LinkLimits(self.consensus.parameters), netInfo: { _ in .anonymous })
        let pipeline = channel.pipeline.syncOperations
        do {
            try pipeline.addHandlers([
                SimulatedTLS(ownKey: ownKey, expected: expected, peer: peer), NegotiationGuard(expecting: .link), link,
            ])
        } catch {
            channel.abort()
        }
        return link
    }

    private func wire(_ kind: Wire.Kind, _ name: String, _ near: SimulatedChannel, _ far: SimulatedChannel) -> Wire {
        Wire(kind, name, from: near, to: far, latency: self.plan.latency, in: self.simulation) { [unowned self] _ in
            self.deliveryCount += 1
            self.onDelivery(self.deliveryCount)
        }
    }

    /// Connect an exit to a destination, which the last byte of its address names.
    private func connect(
        to endpoint: Endpoint, within timeLimit: TimeAmount, from name: String, on loop: any EventLoop
    ) -> EventLoopFuture<any Channel> {
        let promise = loop.makePromise(of: (any Channel).self)
        guard let loop = loop as? SimulatedLoop, case .v4(let address) = endpoint.address,
            let transfer = self.transfers.first(where: { $0.index == Int(address & 255) })
        else { return loop.makeFailedFuture(IOError(errnoCode: EHOSTUNREACH, reason: "connect")) }
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
        self.wires.append(self.wire(.destination, wireName, near, far))
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
        self.wires.append(self.wire(.application, name, near, far))
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
    private func openWires(_ kind: Wire.Kind) -> [Wire] {
        self.wires.filter { $0.kind == kind && $0.isOpen && (kind == .link || $0.far.isActive) }
    }
    private var runningRouters: [SimulatedRouter] { self.routers.filter { $0.state == .running } }

    private func later(_ time: TimeAmount, _ body: @escaping @Sendable () -> Void) {
        self.simulation.schedule(on: self.world, at: self.simulation.now + time, body)
    }

    /// Let it go wrong.
    func apply(_ fault: FaultPlan.Fault) {
        guard self.isPossible(fault) else { return }
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
        case .newConsensus(let number): self.publish(without: number % FaultPlan.routerCount)
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
        case .clockJump(let seconds): self.simulation.clockError += seconds
        }
    }

    /// Whether there is anything for it to hit.
    private func isPossible(_ fault: FaultPlan.Fault) -> Bool {
        switch fault {
        case .cutLink, .halfCloseLink, .freezeLink, .delayLink, .severLink: !self.openWires(.link).isEmpty
        case .killRouter, .stopRouter, .vanishRouter, .freezeRouter, .exhaustRouter: !self.runningRouters.isEmpty
        case .freezeClient, .killClient, .newConsensus: self.isClientAlive
        case .cutApplication: !self.openWires(.application).isEmpty
        case .cutDestination, .freezeDestination: !self.openWires(.destination).isEmpty
        case .refusingDestinations, .silentDestinations, .failingNames, .silentNames, .clockJump: true
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
        router.state = .dead
        self.deadRouters.append(router)
        router.shared.stopAccepting()
        _ = router.onEachLoop(self.simulation) { $0.stop() }
        self.restart(router, after: restart)
    }

    private func restart(_ router: SimulatedRouter, after time: TimeAmount?) {
        guard let time else { return }
        self.later(time) { try? self.startRouter(router.keys) }
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

    private func publish(without index: Int) {
        guard
            let consensus = try? Self.makeConsensus(revision: self.consensus.revision + 1, without: index)
        else { return }
        self.consensus = consensus
        let view = NetworkView(consensus: consensus)
        for router in self.runningRouters { self.simulation.on(self.world) { router.shared.publish(view) } }
        self.simulation.schedule(on: self.clientLoop, at: self.simulation.now) { self.client.adopt(consensus) }
    }

    // MARK: Afterwards

    /// Let everything work again: what has been lost stays lost.
    func heal() throws {
        self.simulation.clockError = 0
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
        self.publish(without: FaultPlan.routerCount)
    }

    /// Let dead processes, of which nobody can hear any more, run their farewell: it shows what they held.
    func lookIntoTheDead() {
        let loops = self.deadRouters.flatMap(\.group.loops) + (self.isClientAlive ? [] : [self.clientLoop])
        for loop in loops { loop.revive() }
        for wire in self.wires {
            for channel in [wire.near, wire.far] where loops.contains(where: { $0 === channel.loop }) {
                self.simulation.on(channel.loop) { channel.abort() }
            }
        }
        for router in self.deadRouters { _ = router.onEachLoop(self.simulation) { $0.stop() } }
        self.endClient()
    }

    func endClient() { self.simulation.on(self.clientLoop) { self.client.shutDown() } }

    func stopRouters() {
        for router in self.routers { _ = router.onEachLoop(self.simulation) { $0.stop() } }
    }

    /// Streams that the client's circuits have.
    var clientStreamCount: Int {
        self.simulation.on(self.clientLoop) { self.client.circuits.values.reduce(0) { $0 + $1.streamCount } }
    }
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
