import CoreMetrics
import Logging
import NIOCore
import OnionAddress
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink

/// Performs what the registry decides: stores, signs and publishes, and tells connections how they fared.
///
/// All state of the directory server is in this actor; connections and probes are tasks of ``DirectoryServer``.
actor DirectoryCore {
    typealias Outcome = Result<UInt64, RegistrationRefusal>
    /// Closes a connection, from anywhere, behind a last message if there is one.
    typealias Closer = @Sendable (DirectoryMessage?) -> Void

    private let directoryKey: Ed25519PrivateKey
    private let linkKey: Ed25519PublicKey
    private let parameters: NetworkParameters
    private let limits: ConnectionLimits
    private let store: RegistryStore
    private let logger: Logger
    private let probeRequests: ProbeLanes.Requests
    private let answers: AnswerBudget
    private let metrics: ServerMetrics
    private let outside: TimeAndChance

    private var registry: Registry
    private var connections: ConnectionLedger
    /// Buckets of registrations: of newcomers by the address that they come from, and of each router that is known. What
    /// others do at its address takes nothing from that.
    private var registering: SourceLedger<IPPrefix>
    private var registeringAgain: SourceLedger<Ed25519PublicKey>

    private var current: Consensus?
    private var hello: DirectoryHello?
    private var closers: [ConnectionID: Closer] = [:]
    private var registrations: [ConnectionID: AsyncStream<Outcome>.Continuation] = [:]
    private var subscribers: [ConnectionID: AsyncStream<Consensus>.Continuation] = [:]
    var subscriberCount: Int { self.subscribers.count }
    /// Routers that passed their probe and are told so once a consensus lists them.
    private var accepted: [ConnectionID] = []
    var acceptedCount: Int { self.accepted.count }
    /// Routers that the log has named for a reason within the hour, or since the allow file changed.
    private var loggedRefusals: [RegistrationRefusal: Set<Ed25519PublicKey>] = [:]
    private var isStoreFailing = false
    private var nextPruning = NIODeadline.uptimeNanoseconds(0)

    init(
        configuration: DirectoryServer.Configuration, registry: Registry, store: RegistryStore,
        probeRequests: ProbeLanes.Requests, answers: AnswerBudget, metrics: ServerMetrics, outside: TimeAndChance,
        logger: Logger
    ) {
        self.directoryKey = configuration.directoryKey
        self.linkKey = configuration.linkKey.publicKey
        self.parameters = configuration.parameters
        self.limits = configuration.connectionLimits
        self.registry = registry
        self.store = store
        self.probeRequests = probeRequests
        self.logger = logger
        self.answers = answers
        self.metrics = metrics
        self.outside = outside
        self.connections = ConnectionLedger(limits: configuration.connectionLimits)
        self.registering = SourceLedger(limits: configuration.connectionLimits.registrations)
        self.registeringAgain = SourceLedger(limits: configuration.connectionLimits.knownRegistrations)
    }

    // MARK: Connections

    /// Count a connection in.
    ///
    /// - Returns: nil when there are too many; then close it.
    func admit(_ address: IPAddress, close: @escaping Closer) -> ConnectionID? {
        switch self.connections.admit(address.sourceNetwork, now: self.outside.now()) {
        case .admitted(let connection, let silent):
            self.closers[connection] = close
            if let silent { self.dismiss(.init(connection: silent, limit: .halfOpenPerAddress)) }
            return connection
        case .refused(let limit, let silent):
            self.metrics.reached(limit)
            if let silent { self.closers[silent]?(nil) }
            return nil
        }
    }

    /// TLS is up on the connection.
    ///
    /// - Parameter peerKey: what the peer proved, if anything.
    /// - Returns: false when there are too many like it; then close it.
    func established(_ connection: ConnectionID, peerKey: Ed25519PublicKey?) -> Bool {
        let router = peerKey.flatMap { self.registry.router(linkKey: $0) }
        guard let dismissal = self.connections.established(connection, router: router) else { return true }
        self.dismiss(dismissal)
        return dismissal.connection != connection
    }

    private func dismiss(_ dismissal: ConnectionLedger.Dismissal) {
        self.metrics.reached(dismissal.limit)
        self.closers[dismissal.connection]?(nil)
    }

    /// Whether one more request may be made over the connection now.
    ///
    /// It is taken from all that its address may ask for, except from a known router, and except a registration: one that
    /// fails ends its connection, and one that costs more is counted when it does.
    func takesRequest(_ message: DirectoryMessage, over connection: ConnectionID) -> Bool {
        if case .register = message { return true }
        if self.registry.speaksForKnownRouter(connection) { return true }
        let isTaken = self.connections.takeRequest(over: connection, now: self.outside.now())
        if !isTaken { self.metrics.reached(.requestsPerAddress) }
        return isTaken
    }

    func closed(_ connection: ConnectionID) {
        self.connections.closed(connection)
        self.closers[connection] = nil
        self.accepted.removeAll { $0 == connection }
        self.registrations.removeValue(forKey: connection)?.finish()
        self.subscribers.removeValue(forKey: connection)?.finish()
        if let probe = self.registry.connectionClosed(connection) { self.probeRequests.yield(probe) }
    }

    func isOpen(_ connection: ConnectionID) -> Bool { self.closers[connection] != nil }

    /// Return the first frame of a connection, signed anew when half of its time is over.
    func currentHello() throws(DirectoryError) -> DirectoryHello {
        let now = self.outside.unixSeconds
        if let hello, hello.expires > now.addingClamped(self.limits.helloSeconds / 2),
            hello.expires <= now.addingClamped(self.limits.helloSeconds)
        {
            return hello
        }
        let hello = try DirectoryHello.make(
            linkKey: self.linkKey, expires: now.addingClamped(self.limits.helloSeconds), signedBy: self.directoryKey)
        self.hello = hello
        return hello
    }

    // MARK: Routers

    /// Register a router: probe it, publish, and only then return.
    ///
    /// - Returns: the newest revision.
    func register(
        _ descriptor: SignedDescriptor, over connection: ConnectionID, peerKey: Ed25519PublicKey?
    ) async throws(RegistrationRefusal) -> UInt64 {
        let unixSeconds = self.outside.unixSeconds
        // Only whoever proves the link key, and may take part, can use up what there is of registrations.
        let network = self.connections.network(of: connection)
        let refusal = self.registry.refusal(
            of: descriptor.descriptor, from: network, peerKey: peerKey, unixSeconds: unixSeconds)
        if let refusal {
            if refusal == .tooManyNewcomers { self.metrics.reached(.newcomers) }
            if refusal == .registryFull { self.metrics.reached(.registry) }
            throw refusal
        }
        guard self.takesRegistration(of: descriptor.identity, over: connection) else { throw .tooOften }
        let decision = self.registry.registered(
            descriptor, over: connection, from: network, peerKey: peerKey, unixSeconds: unixSeconds)
        switch decision {
        case .refuse(let refusal): throw refusal
        case .probe(let probe, let previous):
            if let previous { self.close(previous, because: .superseded) }
            let (outcomes, continuation) = AsyncStream.makeStream(of: Outcome.self)
            self.registrations.updateValue(continuation, forKey: connection)?.finish()
            self.probeRequests.yield(probe)
            for await outcome in outcomes { return try outcome.get() }
            throw .superseded
        }
    }

    /// Whether the log is to show that a registration was refused.
    ///
    /// A refusal without a probe costs whoever comes nothing, nor does an identity; one behind a probe comes twice a second;
    /// and a router whose clock is off may be started again and again. So the log shows one for each router and reason,
    /// and for each reason only so many: strangers hide no other mistake of a friend.
    func isLogged(_ refusal: RegistrationRefusal, of router: Ed25519PublicKey) -> Bool {
        switch refusal {
        case .wrongLinkKey: return false
        case .notAdmitted, .older, .clockOff, .unusableAddress, .registryFull, .tooManyNewcomers, .tooOften,
            .unreachable, .handshakeFailed, .superseded:
            var logged = self.loggedRefusals[refusal] ?? []
            guard !logged.contains(router) else { return false }
            guard logged.count < self.limits.loggedRefusalCount else {
                self.metrics.reached(.loggedRefusals)
                return false
            }
            logged.insert(router)
            self.loggedRefusals[refusal] = logged
            return true
        }
    }

    private func takesRegistration(of router: Ed25519PublicKey, over connection: ConnectionID) -> Bool {
        guard let network = self.connections.network(of: connection) else { return false }
        let isKnown = self.registry.isKnown(router)
        let now = self.outside.now()
        let isTaken =
            isKnown
            ? self.registeringAgain.takeRequest(router, now: now) : self.registering.takeRequest(network, now: now)
        if !isTaken { self.metrics.reached(isKnown ? .registrationsPerRouter : .registrationsPerAddress) }
        return isTaken
    }

    /// Whether anybody still waits for the probe: it may have been overtaken while it waited for its turn.
    func wants(_ probe: RouterProbe) -> Bool { self.registry.wants(probe) }

    func probeFinished(_ probe: RouterProbe, _ outcome: ProbeOutcome) {
        let decision = self.registry.probeFinished(
            probe, outcome, now: self.outside.now(), unixSeconds: self.outside.unixSeconds)
        switch decision {
        case .none: break
        case .accept(let connection):
            self.metrics.registrations.increment()
            self.accepted.append(connection)
            let dismissal = self.connections.proved(probe.descriptor.identity, over: connection)
            if let dismissal { self.dismiss(dismissal) }
        case .refuse(let connection, let refusal): self.answer(connection, .failure(refusal))
        }
        self.publishIfDue()
    }

    func heartbeat(over connection: ConnectionID, counter: UInt64) -> Registry.HeartbeatDecision {
        let decision = self.registry.heartbeatReceived(
            over: connection, counter: counter, now: self.outside.now(), unixSeconds: self.outside.unixSeconds)
        switch decision {
        case .acknowledgeAndProbe(let probe): self.probeRequests.yield(probe)
        case .acknowledge, .notRegistered, .counterNotRising: break
        }
        return decision
    }

    func admissionChanged(to admission: Admission) {
        self.loggedRefusals = [:]
        for connection in self.registry.admissionChanged(to: admission) {
            self.close(connection, because: .notAdmitted)
        }
        self.publishIfDue()
    }

    // MARK: Documents

    var newestRevision: UInt64 { self.current?.revision ?? 0 }

    /// Return the consensuses from the current one on.
    ///
    /// - Returns: nil if the connection waits already. ``unsubscribe(_:)`` when done.
    func subscribe(_ connection: ConnectionID) -> AsyncStream<Consensus>? {
        guard self.subscribers[connection] == nil, self.closers[connection] != nil else { return nil }
        // Only the newest matters to somebody who is slow.
        let (stream, continuation) = AsyncStream.makeStream(of: Consensus.self, bufferingPolicy: .bufferingNewest(1))
        self.subscribers[connection] = continuation
        if let current { continuation.yield(current) }
        return stream
    }

    func unsubscribe(_ connection: ConnectionID) { self.subscribers.removeValue(forKey: connection)?.finish() }

    func ticket(for commitment: Bytes32) throws(DirectoryError) -> PathTicket {
        try PathTicket.make(
            commitment: commitment, salt: self.outside.randomBytes(),
            expires: self.outside.unixSeconds.addingClamped(UInt64(clamping: self.parameters[.ticketLifetime])),
            signedBy: self.directoryKey)
    }

    /// Look at the clock; to be called several times a second.
    func tick() {
        let now = self.outside.now()
        self.registry.timePassed(now: now)
        // Not by the date: a clock that was set back would leave it for as long.
        if now >= self.nextPruning {
            self.nextPruning = now + .hours(1)
            self.loggedRefusals = [:]
            self.registry.prune(unixSeconds: self.outside.unixSeconds)
        }
        self.publishIfDue()
    }

    // MARK: Parts

    private func publishIfDue() {
        self.publishConsensusIfDue()
        // With changes that come out next, the newest consensus is one without them. One that has to wait for its turn, as of a
        // router that changes again and again, holds nobody up.
        guard let current, !self.registry.isChanged else { return }
        let accepted = self.accepted
        self.accepted = []
        for connection in accepted { self.answer(connection, .success(current.revision)) }
    }

    private func publishConsensusIfDue() {
        guard
            let publication = self.registry.publicationDue(
                now: self.outside.now(), unixMilliseconds: self.outside.unixMilliseconds())
        else { return }
        do {
            // Stored before anybody sees it, so that no revision is given out twice.
            try self.store.save(self.registry.stored, revision: publication.revision)
            let consensus = try Consensus.make(
                revision: publication.revision, validAfter: publication.validAfter,
                freshUntil: publication.freshUntil, validUntil: publication.validUntil, parameters: self.parameters,
                routers: publication.routers, signedBy: self.directoryKey)
            self.logChanges(from: self.current, to: consensus)
            self.current = consensus
            self.answers.listed(Set(publication.routers.map(\.descriptor.descriptor.linkKey)))
            self.metrics.consensuses.increment()
            self.isStoreFailing = false
            for (_, subscriber) in self.subscribers.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                subscriber.yield(consensus)
            }
            self.logger.info(
                "consensus published",
                metadata: [
                    "consensus.routers": "\(publication.routers.count)",
                    "consensus.revision": "\(publication.revision)",
                ])
        } catch {
            self.registry.publicationFailed()
            if !self.isStoreFailing {
                self.logger.info("consensus not published; trying again", metadata: ["error": "\(error)"])
            }
            self.isStoreFailing = true
        }
    }

    private func logChanges(from old: Consensus?, to new: Consensus) {
        for router in new.routers where old?.router(router.identity) == nil {
            self.log("router joined the list", router)
        }
        for router in old?.routers ?? [] where new.router(router.identity) == nil {
            self.log("router left the list", router)
        }
    }

    private func log(_ message: Logger.Message, _ router: ConsensusRouter) {
        self.logger.info(
            message,
            metadata: [
                "router.fingerprint": "\(router.identity.base64URL)",
                "router.nickname": "\(router.descriptor.descriptor.nickname)",
                "reason": "\(self.registry.listingReason(of: router.identity).rawValue)",
            ])
    }

    private func answer(_ connection: ConnectionID, _ outcome: Outcome) {
        guard let continuation = self.registrations.removeValue(forKey: connection) else { return }
        continuation.yield(outcome)
        continuation.finish()
    }

    /// Tell a router why its connection is closed, once: as the answer to a registration that waits, or by itself.
    private func close(_ connection: ConnectionID, because refusal: RegistrationRefusal) {
        guard self.registrations[connection] == nil else { return self.answer(connection, .failure(refusal)) }
        self.closers[connection]?(.error(refusal.code, text: refusal.text))
    }
}
