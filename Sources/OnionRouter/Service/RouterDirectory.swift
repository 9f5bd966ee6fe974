import DirectoryClient
import Logging
import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionLink

/// The OR's standing with the directory server: registers, sends heartbeats, and always has a request for the next
/// consensus under way. Registers again, with growing pauses, whenever the connection is lost.
///
/// - Source: DESIGN §9
actor RouterDirectory {
    private let configuration: RouterConfiguration
    private let linkKey: Ed25519PublicKey
    private let connect: @Sendable () async throws -> DirectoryConnection
    private let shared: RouterShared
    /// Where others reach this OR, given what was registered last; asked at each registration and heartbeat, for the
    /// machine's addresses may change.
    private let addresses: @Sendable (_ registered: [Endpoint]) throws -> [Endpoint]
    private let logger: Logger
    private let onReady: @Sendable () -> Void
    private let onStanding: @Sendable (RouterStanding) -> Void
    private let outside: TimeAndChance

    private let store: ConsensusStore
    private var keys: KeptOnionKeys
    private var consensus: Consensus?
    /// Whether the directory has accepted this OR once: what fails later is tried again.
    private var wasRegistered = false
    private var isReady = false
    private var standing: RouterStanding?
    /// Of the newest descriptor that was signed.
    private var lastSequence: UInt64 = 0
    /// Where the directory has reached this OR last.
    private var registeredAddresses: [Endpoint] = []
    private var backoff: JitteredBackoff
    private var generator: TimeAndChance.Generator

    /// Ends a session, to begin the next with a new onion key or other addresses.
    private struct DescriptorOutdated: Error {}

    /// - Parameters:
    ///   - addresses: where others reach the OR; as long as what was registered last leads to it, that. Throws
    ///     ``RouterError`` when nothing does.
    ///   - connect: opens a connection to the directory.
    ///   - onReady: called once, when the OR is in the consensus.
    ///   - onStanding: called with each change of the OR's place, from its first registration on.
    init(
        configuration: RouterConfiguration, linkKey: Ed25519PublicKey, shared: RouterShared, keys: KeptOnionKeys,
        addresses: @escaping @Sendable (_ registered: [Endpoint]) throws -> [Endpoint],
        outside: TimeAndChance = .system, logger: Logger,
        connect: @escaping @Sendable () async throws -> DirectoryConnection, onReady: @escaping @Sendable () -> Void,
        onStanding: @escaping @Sendable (RouterStanding) -> Void = { _ in }
    ) {
        self.configuration = configuration
        self.linkKey = linkKey
        self.connect = connect
        self.shared = shared
        self.keys = keys
        self.store = ConsensusStore(path: "\(configuration.stateDirectory)/consensus")
        self.addresses = addresses
        self.logger = logger
        self.onReady = onReady
        self.onStanding = onStanding
        self.outside = outside
        self.generator = outside.generator
        self.backoff = JitteredBackoff(
            maximum: .milliseconds(Int64(NetworkParameters()[.registrationBackoffMaximum])))
    }

    /// Run until cancelled.
    ///
    /// - Throws: ``DirectoryConnectionError`` if the first registration fails; later failures are tried again. But one that
    ///   was superseded throws too: two routers with one key that both try again would do so for ever.
    func run() async throws {
        self.loadConsensus()
        while true {
            do {
                try await self.session()
            } catch is DescriptorOutdated {
                continue
            } catch {
                try Task.checkCancellation()
                guard self.wasRegistered, !Self.isSuperseded(error) else { throw error }
                self.logger.info("directory connection lost; trying again", metadata: ["error": "\(error)"])
                self.stands(.disconnected(why: "\(error)"))
                try await self.outside.sleep(self.backoff.next(using: &self.generator))
            }
        }
    }

    /// Whether the directory has said that another router with this key took over. Of a connection that is lost nobody
    /// asks any more, so that what comes over it does not end a router that has come back over a new one.
    private static func isSuperseded(_ error: any Error) -> Bool {
        if case .refused(.superseded, _) = error as? DirectoryConnectionError { true } else { false }
    }

    /// Take up what was known before the start: an older list is not believed after it either.
    private func loadConsensus() {
        guard let stored = self.store.load(directoryKey: self.configuration.directoryKey) else { return }
        self.consensus = stored
        if stored.isValid(now: self.outside.unixSeconds) { self.shared.publish(NetworkView(consensus: stored)) }
    }

    private func stands(_ standing: RouterStanding) {
        guard standing != self.standing else { return }
        self.standing = standing
        if standing == .notListed { self.logger.info("not in the consensus any more") }
        self.onStanding(standing)
    }

    private func keep(_ consensus: Consensus) {
        do {
            try self.store.save(consensus)
        } catch {
            self.logger.info("consensus not kept on disk", metadata: ["error": "\(error)"])
        }
    }

    /// One connection, from registration until it fails.
    private func session() async throws {
        self.rotateOnionKey()
        let connection = try await self.connect()
        do {
            let descriptor = try self.descriptor()
            let revision = try await connection.register(descriptor)
            self.wasRegistered = true
            self.registeredAddresses = descriptor.descriptor.addresses
            self.logger.info("registered with the directory")
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.sendHeartbeats(over: connection) }
                group.addTask { try await self.followConsensus(over: connection, listedFrom: revision) }
                defer { group.cancelAll() }
                // Both run until they throw.
                try await group.next()
            }
        } catch {
            await connection.close()
            throw error
        }
    }

    private func sendHeartbeats(over connection: DirectoryConnection) async throws {
        var counter: UInt64 = 0
        while true {
            let interval = self.parameters[.heartbeatInterval]
            try await self.outside.sleep(.milliseconds(Int64(interval)))
            if self.rotateOnionKey() || self.isElsewhere() { throw DescriptorOutdated() }
            counter += 1
            _ = try await connection.heartbeat(counter: counter, load: await self.load())
        }
    }

    /// Whether what was registered leads here no more: over another interface the connection may stay all the same.
    /// While the system does not say, nothing has changed.
    private func isElsewhere() -> Bool {
        do {
            return try self.addresses(self.registeredAddresses) != self.registeredAddresses
        } catch {
            return error is RouterError
        }
    }

    private func followConsensus(over connection: DirectoryConnection, listedFrom revision: UInt64) async throws {
        self.tell(listedFrom: revision)
        while true {
            let wait = TimeAmount.seconds(Int64(self.parameters[.consensusWait]))
            let new = try await connection.consensus(newerThan: self.consensus?.revision ?? 0, wait: wait)
            try new?.acceptance(after: self.consensus, now: self.outside.unixSeconds)
            // Only now: a registration succeeds, and costs the directory a probe, also when its list is not believed here.
            self.backoff.reset()
            guard let new else { continue }
            self.consensus = new
            self.keep(new)
            self.backoff.update(maximum: .milliseconds(Int64(new.parameters[.registrationBackoffMaximum])))
            self.shared.publish(NetworkView(consensus: new))
            self.tell(listedFrom: revision)
        }
    }

    /// Say whether the newest list names this OR, unless it is older than the registration and may name it as it was before.
    private func tell(listedFrom revision: UInt64) {
        guard let consensus, consensus.revision >= revision else { return }
        let isListed = consensus.router(self.configuration.identityKey.publicKey) != nil
        if isListed, !self.isReady {
            self.isReady = true
            self.onReady()
        }
        self.stands(isListed ? .listed : .notListed)
    }

    private var parameters: NetworkParameters { self.consensus?.parameters ?? NetworkParameters() }

    /// How busy the OR is.
    private func load() async -> RouterLoad {
        var circuits = 0
        for loop in self.shared.loops {
            let promise = loop.eventLoop.makePromise(of: Int.self)
            loop.run { promise.succeed($0.circuitCount) }
            circuits += (try? await promise.futureResult.get()) ?? 0
        }
        return Self.load(circuits: circuits)
    }

    /// What is told of so many circuits, rounded so that no one of them shows.
    static func load(circuits: Int) -> RouterLoad {
        RouterLoad(circuitCount: UInt32(clamping: (circuits + 9) / 10 * 10))
    }

    @discardableResult
    private func rotateOnionKey() -> Bool {
        let wasSaved = self.keys.saveFailure == nil
        let isChanged = self.keys.rotate(
            now: self.outside.unixSeconds, lifetime: self.parameters[.onionKeyLifetime],
            overlap: self.parameters[.onionKeyOverlap])
        if wasSaved, let failure = self.keys.saveFailure {
            self.logger.info("onion key not saved; it is used all the same", metadata: ["error": "\(failure)"])
        }
        guard isChanged else { return false }
        self.shared.handshakes.rotate(
            identity: self.configuration.identityKey.publicKey, onionKeys: self.keys.ring.accepted)
        return true
    }

    /// Return a number greater than that of every descriptor of this OR before, as far as it knows.
    ///
    /// Milliseconds go up with every registration, after a restart too. Of a clock that was ahead and has been set the
    /// directory would hear nothing newer until the time has come again.
    private func nextSequence() -> UInt64 {
        let listed =
            self.consensus?.router(self.configuration.identityKey.publicKey)?.descriptor.descriptor.sequence ?? 0
        let (next, isLast) = max(listed, self.lastSequence).addingReportingOverflow(1)
        self.lastSequence = max(self.outside.unixMilliseconds(), isLast ? .max : next)
        return self.lastSequence
    }

    private func descriptor() throws -> SignedDescriptor {
        try RouterDescriptor(
            identity: self.configuration.identityKey.publicKey,
            linkKey: self.linkKey,
            onionKey: self.keys.ring.current.secret.publicKey,
            onionKeyValidUntil: self.keys.ring.validUntil(
                lifetime: self.parameters[.onionKeyLifetime], overlap: self.parameters[.onionKeyOverlap]),
            published: self.outside.unixSeconds,
            sequence: self.nextSequence(),
            addresses: try self.addresses(self.registeredAddresses),
            nickname: self.configuration.nickname,
            exitPolicy: self.configuration.exitPolicy,
            country: self.configuration.country,
            family: self.configuration.family,
            bandwidthRate: self.configuration.bandwidthRate,
            bandwidthBurst: self.configuration.bandwidthRate,
            software: self.configuration.software,
            contact: self.configuration.contact
        ).signed(by: self.configuration.identityKey)
    }
}
