import CoreMetrics
import DirectoryClient
import Logging
import NIOCore
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams

/// All of a client that is on its event loop: joins pool, guards, circuits and requests.
///
/// Decisions are ``CircuitPool``'s, ``GuardSample``'s and ``StreamRetry``'s; here they are carried out. What changes is
/// reported to the pool, and a *turn* at the end of the loop's turn does what the pool then wants.
///
/// Lives on the client's event loop.
final class ClientCore {
    let eventLoop: any EventLoop
    let configuration: OnionClient.Configuration
    let logger: Logger
    let board: ProgressBoard
    private let onAlarm: @Sendable (ClientAlarm) -> Void
    /// Whether circuits have failed in a way that a newer consensus may cure.
    private var hasTrouble = false
    private var sampleFile: GuardSampleFile
    /// The time of day in Unix seconds, and 32 random bytes. They come from outside, so that a run can be repeated.
    private let unixTime: () -> UInt64
    private let randomBytes: () -> Bytes32

    // What the directory said.
    private(set) var consensus: Consensus?
    /// Why no path can be drawn from it, if none can.
    private var networkObstacle: PathError?
    private(set) var assignment: PathAssignment
    private(set) var settings = ClientCircuit.Settings(NetworkParameters())
    /// When the consensus was seen to have expired, and no newer one had come.
    private var expiredAt: NIODeadline?

    // Guards.
    private(set) var sample = GuardSample()
    private var links: GuardLinks?
    private var guardStrikes: [Ed25519PublicKey: Int] = [:]

    // Circuits.
    var pool: CircuitPool
    private(set) var circuits: [CircuitPool.CircuitKey: ClientCircuit] = [:]
    private var suspects: Suspects
    private var refusals: RefusalMemory
    private(set) var buildTimes = BuildTimes()
    private let padding = PaddingSourceBox()
    /// What waits for programs and for cells.
    private(set) var queues: ClientQueues
    private var isReliefScheduled = false
    private let metrics = ClientMetrics()
    private(set) var builtCount: UInt64 = 0
    private(set) var failedCount: UInt64 = 0
    /// How many builds have failed since a circuit was last complete.
    private(set) var failuresInARow = 0
    /// When a circuit was last open and the list had not expired.
    private(set) var lastReadyAt: NIODeadline

    // Requests.
    private(set) var waiting: [CircuitPool.RequestKey: PendingRequest] = [:]
    private(set) var trying: [CircuitPool.CircuitKey: [ObjectIdentifier: PendingRequest]] = [:]

    /// Where open streams go, if the user wants to be told.
    private var destinations: [CircuitPool.CircuitKey: [ObjectIdentifier: RefusalMemory.Place]] = [:]

    private var ticker: RepeatedTask?
    private var isTurnScheduled = false
    private(set) var isShutDown = false

    static let tickInterval = TimeAmount.milliseconds(250)
    /// Builds in a row that a guard leaves unanswered or refuses, or links that it drops during such, before it counts as
    /// unreachable.
    static let guardStrikeLimit = 3
    /// Circuits that a guard is to have room for beside the pool's: those that are traced.
    static let tracedCircuitRoom = 8

    init(
        eventLoop: any EventLoop, configuration: OnionClient.Configuration, board: ProgressBoard, logger: Logger,
        unixTime: @escaping () -> UInt64 = { TimeAndChance.system.unixSeconds },
        randomBytes: @escaping () -> Bytes32 = SecureRandom.bytes32,
        onAlarm: @escaping @Sendable (ClientAlarm) -> Void = { _ in }
    ) {
        self.eventLoop = eventLoop
        self.unixTime = unixTime
        self.randomBytes = randomBytes
        self.assignment = PathAssignment(secret: randomBytes())
        self.lastReadyAt = eventLoop.now
        self.configuration = configuration
        self.board = board
        self.onAlarm = onAlarm
        self.logger = logger
        self.sampleFile = GuardSampleFile(
            stateDirectory: configuration.stateDirectory, directoryKey: configuration.directoryKey)
        self.suspects = Suspects(age: configuration.limits.suspicion)
        self.refusals = RefusalMemory(
            age: configuration.limits.refusalMemory, limit: configuration.limits.refusalMemoryCount)
        self.queues = ClientQueues(ceiling: configuration.limits.queuedByteCount)
        let ahead = [443, 80].map { CircuitWish.port($0, exit: configuration.exit) }
        self.pool = CircuitPool(
            rules: CircuitPool.Rules(limits: configuration.limits, defaultWishes: ahead))
    }

    var limits: OnionClient.Limits { self.configuration.limits }

    /// Whether circuits have failed, since this was last asked, in a way that a newer consensus may cure.
    func takeTrouble() -> Bool {
        defer { self.hasTrouble = false }
        return self.hasTrouble
    }

    /// Begin to live: nothing happens before.
    func start(dial: @escaping GuardLink.Dial) {
        self.links = GuardLinks(
            eventLoop: self.eventLoop, timeLimit: self.limits.guardLinkTimeLimit, dial: dial, owner: self)
        do {
            self.sample = try self.sampleFile.load() ?? GuardSample()
        } catch {
            self.onAlarm(.guardsNotReadable(reason: "\(error)"))
        }
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.ticker = self.eventLoop.scheduleRepeatedTask(
            initialDelay: Self.tickInterval, delay: Self.tickInterval
        ) { _ in bound.value.tick() }
    }

    /// End everything at once.
    func shutDown() {
        self.isShutDown = true
        self.ticker?.cancel()
        for request in self.waiting.values { request.fail(.shuttingDown) }
        self.waiting = [:]
        let trying = self.trying.values.flatMap(\.values)
        self.trying = [:]
        for request in trying {
            request.endAttempt()
            request.fail(.shuttingDown)
        }
        for circuit in self.circuits.sorted(by: { $0.key < $1.key }) { circuit.value.close() }
        self.circuits = [:]
        self.links?.closeAll()
    }

    private func tick() {
        let now = self.eventLoop.now
        for circuit in self.circuits.values { circuit.tick(now: now) }
        // Those whose circuits are gone.
        for holder in self.queues.all { self.look(holder) }
        self.suspects.timePassed(now: now)
        for identity in self.sample.probesDue(isListed: self.isListedGuard, now: now) {
            if let router = self.consensus?.router(identity) { self.links?.probe(router) }
        }
        self.turn()
        if !self.isShutDown { self.board.reportAfterStart(self.progress) }
    }

    // MARK: The directory's word

    /// Work from this consensus from now on. It has been verified and accepted.
    func adopt(_ consensus: Consensus) {
        guard !self.isShutDown else { return }
        self.consensus = consensus
        self.settings = ClientCircuit.Settings(consensus.parameters)
        self.applyBuildTimes()
        self.links?.limits = LinkLimits(consensus.parameters)
        self.queues.ceiling = min(self.limits.queuedByteCount, consensus.parameters[.processQueueLimit])
        self.pool.rules.lifetime = .seconds(Int64(consensus.parameters[.circuitLifetime]))
        self.pool.rules.streamsPerCircuit = consensus.parameters[.streamsPerCircuit]
        let besides = self.limits.directoryCircuitCount + Self.tracedCircuitRoom
        self.pool.rules.limits.circuitCount = min(
            self.limits.circuitCount, max(1, consensus.parameters[.circuitsPerClientLink] - besides))
        self.pool.consensusChanged()
        self.pool.pauseOver()
        self.updateSample(consensus)
        for (key, circuit) in self.circuits
        where !circuit.path.allSatisfy({ consensus.router($0.identity) != nil }) {
            // A router that is gone takes the circuit with it sooner or later; no new stream should be there then.
            self.pool.retire(key)
        }
        self.networkObstacle = pathObstacle(in: consensus)
        if let obstacle = self.networkObstacle {
            self.board.report(.loadingRouters, because: "\(obstacle); waiting for more")
            self.logger.info("no circuit can be built", metadata: ["error.code": "\(obstacle)"])
        } else {
            self.board.report(.connectingToGuard)
        }
        self.logger.info(
            "consensus adopted",
            metadata: [
                "consensus.revision": "\(consensus.revision)", "consensus.routers": "\(consensus.routers.count)",
            ])
        self.setNeedsTurn()
    }

    /// Whether no path can be drawn from the consensus: only a newer one helps.
    var isNetworkTooSmall: Bool { self.networkObstacle != nil }

    /// Why no circuit at all can be begun now, whatever it is for; nil while one can, or while there is no consensus yet.
    var obstacle: String? {
        guard self.consensus != nil else { return nil }
        if self.isExpired { return Self.expired }
        if let networkObstacle { return "\(networkObstacle)" }
        return self.usableGuards.isEmpty ? Self.noGuard : nil
    }

    /// Whether the consensus must not be used any more: only a newer one helps.
    var isExpired: Bool { self.consensus.map { !$0.isValid(now: self.unixTime()) } ?? false }

    private static let expired =
        "the list of routers has expired; is the directory up, and the clock right? trying again"
    private static let noGuard = "no guard can be reached; is this machine's network up? trying again"

    /// Let circuits begun from now on have the time that builds have been seen to take.
    private func applyBuildTimes() {
        let network = TimeAmount.milliseconds(
            Int64((self.consensus?.parameters ?? NetworkParameters())[.circuitBuildTimeout]))
        self.settings.buildTimeLimit = self.buildTimes.limit(network: network)
        self.pool.rules.slowBuildAfter = self.buildTimes.slow(initial: self.limits.slowBuildAfter, network: network)
    }

    func adopt(_ ticket: PathTicket, for secret: Bytes32) { self.assignment.adopt(ticket, for: secret) }

    private func updateSample(_ consensus: Consensus) {
        let before = self.sample
        let unixTime = self.unixTime()
        let vacancies = self.sample.consensusChanged(
            size: consensus.parameters[.guardSampleSize], isListed: self.isListedGuard, unixTime: unixTime,
            now: self.eventLoop.now)
        if vacancies > 0 {
            let seed = PathSeed.deriveGuardSample(secret: self.randomBytes(), consensusDigest: consensus.digest)
            let drawn = drawGuardSample(
                consensus: consensus, seed: seed, count: vacancies, existing: Set(self.sample.identities))
            self.sample.add(drawn, unixTime: unixTime)
        }
        guard self.sample.members != before.members else { return }
        do {
            // A few hundred bytes, when a guard comes or goes: not worth another thread.
            try self.sampleFile.save(self.sample)
        } catch {
            self.onAlarm(.guardsNotSaved(reason: "\(error)"))
        }
    }

    private func isListedGuard(_ identity: Ed25519PublicKey) -> Bool {
        self.consensus?.router(identity)?.flags.contains(.guard) ?? false
    }

    /// The guards that circuits may begin at now, preferred first.
    var usableGuards: [Ed25519PublicKey] { self.sample.usable(isListed: self.isListedGuard) }

    // MARK: Requests

    /// Take up a request; it is answered by its promise.
    func add(_ request: PendingRequest) {
        guard !self.isShutDown else { return request.fail(.shuttingDown) }
        // Told at once, and not only when it comes to a draw.
        if request.wish.isChoosy, let consensus, !consensus.routers.contains(where: request.wish.isMet) {
            return request.fail(.noExitMeets(request.wish.exitWish))
        }
        let key = self.pool.requestAdded(
            request.wish, isolation: request.isolation, excluded: request.excluded.union(request.avoided),
            deadline: request.deadline,
            now: self.eventLoop.now)
        guard let key else {
            self.metrics.waitingRequests.increment()
            return request.fail(.ended(.resourceLimit))
        }
        request.waitingKey = key
        self.waiting[key] = request
        self.setNeedsTurn()
    }

    private func attach(_ key: CircuitPool.RequestKey, to circuitKey: CircuitPool.CircuitKey) {
        guard let request = self.waiting.removeValue(forKey: key) else {
            // It was taken back in this very turn.
            return self.pool.streamClosed(on: circuitKey, now: self.eventLoop.now)
        }
        guard let circuit = self.circuits[circuitKey], let exit = circuit.path.last,
            request.begin(
                on: circuit, exit: exit.identity, timeLimit: self.limits.attemptTimeLimit, eventLoop: self.eventLoop)
        else {
            self.pool.retire(circuitKey)
            self.pool.streamClosed(on: circuitKey, now: self.eventLoop.now)
            return self.add(request)
        }
        self.trying[circuitKey, default: [:]][ObjectIdentifier(request)] = request
    }

    /// Take up a request that is new.
    ///
    /// - Parameter gone: completes when nobody waits for it any more.
    func addNew(_ request: PendingRequest, until gone: EventLoopFuture<Void>? = nil) {
        if let place = request.place { request.avoided = self.refusals.exits(for: place, now: self.eventLoop.now) }
        self.add(request)
        gone?.hop(to: self.eventLoop).assumeIsolated().whenComplete { [weak self, weak request] _ in
            if let self, let request { self.withdraw(request) }
        }
    }

    /// Take back a request, if it is not answered yet: its program has gone.
    ///
    /// Circuits under construction for it are completed: programs that go often come again in a moment.
    func withdraw(_ request: PendingRequest) {
        if let key = request.waitingKey, self.waiting[key] === request {
            self.waiting[key] = nil
            self.pool.requestWithdrawn(key)
        } else if let attempt = request.attempt {
            self.trying[attempt.circuit]?[ObjectIdentifier(request)] = nil
            if self.trying[attempt.circuit]?.isEmpty ?? false { self.trying[attempt.circuit] = nil }
            request.abandonAttempt()
        } else {
            return
        }
        request.fail(.ended(.finished))
    }

    /// Let nothing of now be seen in what comes: no circuit of now carries a new stream, and refusals are forgotten.
    func newIdentity() {
        self.pool.retireAll()
        self.refusals.forgetAll()
        self.setNeedsTurn()
    }

    /// The exit could not connect to the destination; others may.
    private func siteRefused(_ request: PendingRequest, _ attempt: PendingRequest.Attempt) {
        if let place = request.place { self.refusals.refused(place, by: attempt.exit, now: self.eventLoop.now) }
        request.hurry(until: self.eventLoop.now + self.limits.otherExitPatience)
    }

    private func decide(_ decision: StreamRetry.Decision, _ request: PendingRequest, exit: Ed25519PublicKey?) {
        switch decision {
        case .fail(let failure): request.fail(failure)
        case .tryAgain(let byAnotherExit):
            if byAnotherExit, let exit { request.excluded.insert(exit) }
            self.add(request)
        }
    }

    private func giveUp(_ key: CircuitPool.RequestKey) {
        guard let request = self.waiting.removeValue(forKey: key) else { return }
        var failure = StreamFailure.noCircuit
        if let cause = self.consensus == nil ? self.board.current.text : self.obstacle { failure = .notReady(cause) }
        request.fail(request.retry.lastFailure ?? failure)
    }

    /// There is no room for a circuit for the request.
    private func refuse(_ key: CircuitPool.RequestKey) {
        guard let request = self.waiting.removeValue(forKey: key) else { return }
        if !request.avoided.isEmpty {
            // An open circuit may lead to an exit that it would rather have avoided.
            request.avoided = []
            return self.add(request)
        }
        self.metrics.circuits.increment()
        request.fail(request.retry.lastFailure ?? .tooManyCircuits)
    }

    /// No circuit can be had that suits the request.
    private func fail(_ request: PendingRequest, _ failure: StreamFailure) {
        if request.avoided.isEmpty { return request.fail(request.retry.lastFailure ?? failure) }
        // Only the exits that have refused lately are left: they get another chance.
        request.avoided = []
        if let place = request.place { self.refusals.forget(place) }
        self.add(request)
    }

    // MARK: Circuits

    /// Do what the pool wants, soon.
    func setNeedsTurn() {
        guard !self.isTurnScheduled else { return }
        self.isTurnScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute { bound.value.turn() }
    }

    private func turn() {
        self.isTurnScheduled = false
        guard !self.isShutDown else { return }
        let now = self.eventLoop.now
        self.noteExpiry(now)
        if self.expiredAt == nil, self.pool.openCircuitCount > 0 { self.lastReadyAt = now }
        let mayBuild = self.consensus != nil && self.expiredAt == nil && !self.usableGuards.isEmpty
        // Not at once: a machine that has slept gets a newer list in a moment.
        let isHopeless = self.expiredAt.map { now - $0 >= self.limits.newListPatience } ?? false
        for action in self.pool.advance(now: now, mayBuild: mayBuild, isHopeless: isHopeless) {
            switch action {
            case .attach(let request, let circuit): self.attach(request, to: circuit)
            case .build(let key, let wish, let excluded): self.build(key, wish, excluding: excluded)
            case .close(let key): self.circuits.removeValue(forKey: key)?.close()
            case .giveUp(let key): self.giveUp(key)
            case .refuse(let key): self.refuse(key)
            }
        }
    }

    private func noteExpiry(_ now: NIODeadline) {
        guard self.isExpired else { return self.expiredAt = nil }
        guard self.expiredAt == nil else { return }
        self.expiredAt = now
        // After a step of the clock the next asking may be an hour away.
        self.hasTrouble = true
        self.board.report(.loadingRouters, because: Self.expired)
        self.logger.info("the list of routers has expired")
    }

    private func build(_ key: CircuitPool.CircuitKey, _ wish: CircuitWish, excluding: Set<Ed25519PublicKey>) {
        do throws(PathError) {
            let path = try self.drawPath(wish, excluding: excluding)
            guard let last = path.last else { throw .tooFewUnrelatedRouters }
            self.pool.pathDrawn(key, exit: last)
            let circuit = ClientCircuit(
                key: key, path: path, settings: self.settings, padding: self.padding, eventLoop: self.eventLoop,
                owner: self)
            self.circuits[key] = circuit
            self.links?.begin(circuit)
        } catch {
            self.logger.debug("no path", metadata: ["error": "\(Self.logText(error))"])
            self.noPath(key, wish, error)
        }
        // One that is built ahead may leave room for another.
        self.setNeedsTurn()
    }

    /// Begin a circuit that no request will get; its owner keeps it.
    func beginCircuit(owner: any ClientCircuitOwner) throws(PathError) -> ClientCircuit {
        let circuit = ClientCircuit(
            key: CircuitPool.CircuitKey(rawValue: .max), path: try self.drawPath(.resolver, excluding: []),
            settings: self.settings, padding: self.padding, eventLoop: self.eventLoop, owner: owner)
        self.links?.begin(circuit)
        return circuit
    }

    private func noPath(_ key: CircuitPool.CircuitKey, _ wish: CircuitWish, _ error: PathError) {
        if error == .noUsableGuard { return self.pool.circuitEnded(key, now: self.eventLoop.now) }
        // What a program wishes for is nobody else's to read, and the start does not wait on it.
        if let reason = self.obstacle ?? (self.pool.rules.defaultWishes.contains(wish) ? "\(error)" : nil) {
            self.board.report(.connectingToGuard, because: reason)
        }
        for lost in self.pool.pathImpossible(key) {
            guard let request = self.waiting.removeValue(forKey: lost) else { continue }
            self.fail(request, self.impossible(wish, error))
        }
    }

    /// An error for a log, which shows nothing of what a program asked for.
    static func logText(_ error: PathError) -> String {
        if case .noLastHop(.exit(let port)) = error { return "no exit for port \(Scrubbed(port))" }
        return "\(error)"
    }

    func impossible(_ wish: CircuitWish, _ error: PathError) -> StreamFailure {
        if let obstacle { return .notReady(obstacle) }
        if wish.isChoosy { return .noExitMeets(wish.exitWish) }
        // The exits are there, and say nothing against it, when what is missing are routers before them.
        guard case .noLastHop(.exit(let port)) = error else { return .noCircuit }
        return .noExitAllows(port: port)
    }

    /// Draw a path, without the routers under suspicion if that can be, and without exits that have refused.
    ///
    /// Neither changes where the path begins: a destination that refuses, or routers that fail, would otherwise walk the client on
    /// to another guard, and away from the one in use when that is an exit too. A guard is judged by its link alone.
    private func drawPath(
        _ wish: CircuitWish, excluding refused: Set<Ed25519PublicKey>
    ) throws(PathError) -> [ConsensusRouter] {
        guard let consensus else { throw .noUsableGuard }
        let guards = self.usableGuards
        // An empty sample would mean "any guard" to the draw.
        guard !guards.isEmpty else { throw .noUsableGuard }
        let seed = self.assignment.nextSeed(consensusDigest: consensus.digest, now: self.unixTime())
        func path(_ guards: [Ed25519PublicKey], without excluded: Set<Ed25519PublicKey>) throws(PathError)
            -> [ConsensusRouter]
        {
            try OnionDirectory.drawPath(
                consensus: consensus, seed: seed, guards: guards, constraints: wish.constraints(excluding: excluded))
        }
        let first = try path(guards, without: [])
        let entry = first[0].identity
        let slow = self.circuits.values.filter { self.eventLoop.now - $0.startedAt >= self.pool.rules.slowBuildAfter }
        let suspected = self.suspects.leftOut(
            hanging: slow.flatMap(\.routersThatMayHang), behind: entry, of: consensus.routers.count)
        let refused = refused.subtracting([entry])
        if suspected.isEmpty, refused.isEmpty { return first }
        if let path = try? path([entry], without: suspected.union(refused)) { return path }
        return try path([entry], without: refused)
    }

    private func learn(from error: CircuitError, on circuit: ClientCircuit) {
        switch error.recovery {
        case .newPathWithout(let hop) where hop > 0 && hop < circuit.path.count:
            self.suspects.blame(circuit.path[hop].identity, now: self.eventLoop.now)
            self.hasTrouble = true
        case .refreshConsensusThenNewPath:
            self.hasTrouble = true
            self.blameForHandshake(error, on: circuit)
        case .newPathWithout, .newPath, .newLink, .waitThenNewPath, .fixConfiguration: break
        }
        if case .buildTimedOut = error {
            self.buildTimes.timedOut()
            self.applyBuildTimes()
        }
        if self.isGuardsFault(error, circuit) { self.strike(circuit.guardRouter.identity) }
        // The guard may have another onion key by now.
        if error == .destroyed(hop: 0, .handshakeFailed) { self.hasTrouble = true }
    }

    /// The hop's answer was not its own: it said nonsense, or the hop before, which passed it on, has changed it. The guard is
    /// judged by its link alone.
    private func blameForHandshake(_ error: CircuitError, on circuit: ClientCircuit) {
        guard case .handshakeFailed(let hop) = error, hop > 0, hop < circuit.path.count else { return }
        for router in circuit.path[max(1, hop - 1)...hop] {
            self.suspects.blame(router.identity, now: self.eventLoop.now)
        }
    }

    /// Whether a circuit ended because its guard did not answer as it should: refused, said nonsense, or kept silent.
    ///
    /// What fails behind the guard is its word against others'. A lost link counts once, whatever was on it. And a limit may
    /// have been reached by this client, or by others at its address: while circuits stand, it stays with its guard.
    private func isGuardsFault(_ error: CircuitError, _ circuit: ClientCircuit) -> Bool {
        if error == .destroyed(hop: 0, .resourceLimit) {
            let guardRouter = circuit.guardRouter.identity
            return !self.circuits.values.contains { $0.isReady && $0.guardRouter.identity == guardRouter }
        }
        if case .destroyed(hop: 0, _) = error { return true }
        if circuit.awaitsGuard, error.destroyReason == .protocolViolation { return true }
        return error == .buildTimedOut(hop: 0) || error == .handshakeFailed(hop: 0)
    }

    private func strike(_ identity: Ed25519PublicKey) {
        self.guardStrikes[identity, default: 0] += 1
        guard self.guardStrikes[identity, default: 0] >= Self.guardStrikeLimit else { return }
        self.guardStrikes[identity] = nil
        self.guardFailed(identity)
    }

    private func guardFailed(_ identity: Ed25519PublicKey) {
        let hadGuard = !self.usableGuards.isEmpty
        self.sample.failed(identity, now: self.eventLoop.now)
        // Who does not answer as a guard will hardly do so farther on.
        self.suspects.blame(identity, now: self.eventLoop.now)
        self.hasTrouble = true
        if self.sample.isNetworkSuspected(isListed: self.isListedGuard) {
            self.board.report(.connectingToGuard, because: Self.noGuard)
            if hadGuard { self.logger.info("no guard can be reached") }
        }
    }

    /// Where the open streams of a circuit go, in alphabetical order.
    func destinations(on circuit: CircuitPool.CircuitKey) -> [String] {
        (self.destinations[circuit] ?? [:]).values
            .map { $0.host.contains(":") ? "[\($0.host)]:\($0.port)" : "\($0.host):\($0.port)" }.sorted()
    }

    var guardInUse: ConsensusRouter? { self.usableGuards.first.flatMap { self.consensus?.router($0) } }
}

extension ClientCore: ClientCircuitOwner {
    func circuitReady(_ circuit: ClientCircuit) {
        self.builtCount += 1
        self.failuresInARow = 0
        // From Create on: dialling a guard is no measure of circuits.
        if let begun = circuit.exchanges.first?.askedAt { self.buildTimes.built(in: self.eventLoop.now - begun) }
        self.applyBuildTimes()
        self.guardStrikes[circuit.guardRouter.identity] = nil
        self.sample.worked(circuit.guardRouter.identity)
        for router in circuit.path { self.suspects.clear(router.identity) }
        self.pool.circuitOpened(circuit.key, now: self.eventLoop.now)
        self.board.report(.ready)
        self.logger.debug("circuit built", metadata: ["circuit.hops": "\(circuit.path.count)"])
        self.setNeedsTurn()
    }

    func circuit(_ circuit: ClientCircuit, closed stream: OnionStream) {
        if self.configuration.revealsDestinations {
            self.destinations[circuit.key]?[ObjectIdentifier(stream)] = nil
        }
        self.pool.streamClosed(on: circuit.key, now: self.eventLoop.now)
        if self.pool.waitingRequestCount > 0 || self.pool.phase(of: circuit.key) == .retiring { self.setNeedsTurn() }
    }

    func circuit(_ circuit: ClientCircuit, ended error: CircuitError) {
        let wasBuilding = self.pool.phase(of: circuit.key) == .building
        self.circuits[circuit.key] = nil
        self.destinations[circuit.key] = nil
        self.pool.circuitEnded(circuit.key, now: self.eventLoop.now)
        if wasBuilding {
            self.failedCount += 1
            self.failuresInARow += 1
            // Once: the start need not tell of each.
            if self.failuresInARow == CircuitPool.failuresWithoutPause, let buildingObstacle {
                self.board.report(.buildingCircuit, because: buildingObstacle)
            }
        }
        self.learn(from: error, on: circuit)
        self.logger.debug(
            "circuit ended", metadata: ["error.code": "\(error)", "circuit.complete": "\(!wasBuilding)"])
        // In the order in which they were begun: who has waited longest gets the next circuit.
        let interrupted = (self.trying.removeValue(forKey: circuit.key) ?? [:]).values.sorted {
            $0.attempt?.stream.id ?? .circuit < $1.attempt?.stream.id ?? .circuit
        }
        for request in interrupted {
            request.endAttempt()
            self.decide(request.retry.circuitDied(), request, exit: nil)
        }
        self.setNeedsTurn()
    }
}

// The account of what waits in this process, and what happens when it is too much.
extension ClientCore {
    func circuit(_ circuit: ClientCircuit, bytesChanged endpoint: CircuitEndpoint) {
        self.look(ClientQueues.Holder(circuit: circuit, endpoint: endpoint))
    }

    private func look(_ holder: ClientQueues.Holder) {
        self.queues.look(holder, now: self.eventLoop.now)
        guard self.queues.isOverCeiling, !self.isReliefScheduled else { return }
        self.isReliefScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        // Not from within the making or taking of a cell.
        self.eventLoop.execute {
            bound.value.isReliefScheduled = false
            bound.value.relieve()
        }
    }

    /// End the circuits with the oldest bytes until the rest may stay.
    private func relieve() {
        while let victim = self.queues.victim {
            self.metrics.queuedBytes.increment()
            self.logger.info("a circuit was closed: programs do not take what they asked for, and memory is limited")
            victim.circuit.overflowed()
            victim.endpoint.abandon()
            self.queues.forget(victim)
        }
    }
}

extension ClientCore: GuardLinkOwner {
    func guardLinkOpened(_ link: GuardLink) {
        let hadGuard = !self.usableGuards.isEmpty
        self.sample.reached(link.router.identity, isListed: self.isListedGuard)
        if !hadGuard { self.pool.pauseOver() }
        self.board.report(.buildingCircuit)
        self.setNeedsTurn()
    }

    func guardLink(_ link: GuardLink, ended reason: GuardLink.Ending) {
        self.logger.debug("guard link ended", metadata: ["link.state": "\(reason)"])
        switch reason {
        case .unreachable, .frozen: self.guardFailed(link.router.identity)
        // It may only have been started anew: dialling tells. But one that takes links and drops them is of no use either.
        case .lost:
            self.hasTrouble = true
            let isOwed = self.circuits.values.contains {
                $0.awaitsGuard && $0.guardRouter.identity == link.router.identity
            }
            if isOwed { self.strike(link.router.identity) }
        case .closed: break
        }
        self.setNeedsTurn()
    }
}

extension ClientCore: PendingRequestOwner {
    func request(_ request: PendingRequest, got answer: PendingRequest.Answer) {
        guard let attempt = request.attempt else { return }
        self.trying[attempt.circuit]?[ObjectIdentifier(request)] = nil
        if self.trying[attempt.circuit]?.isEmpty ?? false { self.trying[attempt.circuit] = nil }
        request.endAttempt()
        switch (answer, request.goal) {
        case (.connected(let connected, let stream), .stream(_, _, let promise)):
            if let place = request.place {
                self.refusals.connected(place, by: attempt.exit)
                if self.configuration.revealsDestinations {
                    self.destinations[attempt.circuit, default: [:]][ObjectIdentifier(stream)] = place
                }
            }
            promise.succeed(OpenedStream(stream, connected: connected, eventLoop: self.eventLoop))
        case (.resolved(.failed(let reason)), .lookUp(_, let promise)):
            switch request.retry.refused(reason) {
            case .tryAgain(let byAnotherExit):
                self.decide(.tryAgain(byAnotherExit: byAnotherExit), request, exit: attempt.exit)
            case .fail: promise.succeed(.failed(reason))
            }
        case (.resolved(let resolved), .lookUp(_, let promise)):
            let allowsLoopback = self.consensus?.parameters.allows(.allowLoopback) ?? false
            promise.succeed(resolved.withoutPrivateAddresses(allowsLoopback: allowsLoopback))
        case (.refused(let reason), _):
            if StreamRetry.isOfSite(reason) { self.siteRefused(request, attempt) }
            self.decide(request.retry.refused(reason), request, exit: attempt.exit)
        case (.timedOut, _): self.decide(request.retry.timedOut(), request, exit: attempt.exit)
        // The stream's own rules exclude an answer of the other kind.
        case (.connected, .lookUp), (.resolved, .stream): request.fail(.ended(.unspecified))
        }
    }
}

@available(*, unavailable)
extension ClientCore: Sendable {}
