import DirectoryClient
import Logging
import NIOCore
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink

/// Keeps the client's consensus and ticket: from disk, from the directory server, and again when it is time.
///
///     disk ── valid ──────────────────────────▶ keeping ──▶ refresh through a circuit ──▶ keeping
///       └─ none ──▶ first fetch, directly ──▶──┘   └─ no circuit for a while ──▶ refresh directly ──▶ keeping
///                                                  └─ too few routers for one ─┘
///
/// Async, off the path of cells; what it finds goes to ``ClientCore`` on the client's event loop.
///
/// - Source: DESIGN §9 *Consensus*, *Privacy of asking*
struct ClientDirectory: Sendable {
    let core: NIOLoopBoundBox<ClientCore>
    let eventLoop: any EventLoop
    let configuration: OnionClient.Configuration
    let board: ProgressBoard
    let logger: Logger
    let onAlarm: @Sendable (ClientAlarm) -> Void
    let ways: Ways
    let outside: TimeAndChance
    let store: ConsensusStore

    /// Between two askings because of trouble, at least.
    static let troubleInterval = TimeAmount.seconds(10)
    /// After trouble the directory is asked at a random time within this, in milliseconds: an exit can make trouble at will,
    /// and would recognise a question that followed at once.
    static let troubleDelay: ClosedRange<Int64> = 1000...20_000
    /// Between two askings at least, when the last brought no news; twice as much each further time, up to the other. A whole list
    /// comes each time, and who makes trouble at a client may not make it fetch that again and again.
    private static let quietWait = TimeAmount.seconds(20)
    private static let longestQuietWait = TimeAmount.minutes(10)
    private static let longestWait = TimeAmount.seconds(60)
    private static let longestUrgentWait = TimeAmount.seconds(5)
    /// The same while the network has too few routers for a circuit.
    static let smallNetworkInterval = TimeAmount.milliseconds(500)
    /// For how long a client without a consensus tries to reach its directory before it gives up.
    static let startPatience = TimeAmount.seconds(120)
    /// Through a circuit, a stream to the directory has to be connected in this time.
    static let streamPatience = TimeAmount.seconds(20)
    /// How often a directory that has the wrong key or clock is asked again before the operator is told.
    static let misconfigurationLimit = 3

    init(
        core: NIOLoopBoundBox<ClientCore>, eventLoop: any EventLoop, configuration: OnionClient.Configuration,
        board: ProgressBoard, logger: Logger, onAlarm: @escaping @Sendable (ClientAlarm) -> Void, ways: Ways,
        outside: TimeAndChance = .system
    ) {
        self.core = core
        self.eventLoop = eventLoop
        self.configuration = configuration
        self.board = board
        self.logger = logger
        self.onAlarm = onAlarm
        self.ways = ways
        self.outside = outside
        self.store = ConsensusStore(path: "\(configuration.stateDirectory)/consensus")
    }

    /// Run until cancelled.
    ///
    /// - Throws: ``OnionClientError`` when there is no way to begin.
    func run() async throws {
        try await self.begin()
        var backoff = JitteredBackoff(first: .seconds(1), maximum: Self.longestWait)
        var generator = self.outside.generator
        var quietWait = TimeAmount.zero
        while !Task.isCancelled {
            try await self.waitUntilDue(quietWait)
            while !Task.isCancelled {
                do {
                    let isNews = try await self.refresh()
                    quietWait = isNews ? .zero : min(max(Self.quietWait, quietWait * 2), Self.longestQuietWait)
                    backoff.reset()
                    break
                } catch {
                    self.logger.debug("directory not asked", metadata: ["error.code": "\(error)"])
                    // With an expired list nothing can be built: everybody waits for this.
                    let isExpired = try await self.onLoop { $0.isExpired }
                    backoff.update(maximum: isExpired ? Self.longestUrgentWait : Self.longestWait)
                    try await self.outside.sleep(backoff.next(using: &generator))
                }
            }
        }
    }

    // MARK: The beginning

    private func begin() async throws {
        if let stored = self.store.load(directoryKey: self.configuration.directoryKey) {
            do {
                try stored.acceptance(after: nil, now: self.outside.unixSeconds)
                return try await self.onLoop { $0.adopt(stored) }
            } catch let error as DirectoryError {
                self.logger.info("stored consensus not used", metadata: ["error.code": "\(error)"])
            }
        }
        try await self.firstFetch()
    }

    private func firstFetch() async throws {
        var backoff = JitteredBackoff(maximum: .seconds(5))
        var generator = self.outside.generator
        let start = self.outside.now()
        var misconfigurationCount = 0
        self.board.report(.connectingToDirectory)
        while true {
            do {
                _ = try await self.fetchDirectly()
                return
            } catch let error as DirectoryConnectionError {
                switch error.recovery {
                case .fixConfiguration: misconfigurationCount += 1
                case .tryAgain: misconfigurationCount = 0
                }
                if misconfigurationCount >= Self.misconfigurationLimit
                    || self.outside.now() - start > Self.startPatience
                {
                    throw self.operatorError(error)
                }
                self.board.report(.connectingToDirectory, because: "\(error); trying again")
            } catch let error as DirectoryError {
                self.board.report(.loadingRouters, because: "\(error)")
                misconfigurationCount += 1
                if misconfigurationCount >= Self.misconfigurationLimit { throw self.operatorError(error) }
            }
            try await self.outside.sleep(backoff.next(using: &generator))
        }
    }

    private var directoryName: String { "\(self.configuration.directoryHost):\(self.configuration.directoryPort)" }

    private func operatorError(_ error: DirectoryConnectionError) -> OnionClientError {
        let kind: OnionClientError.Kind =
            switch error {
            case .wrongDirectoryKey, .notADirectory: .wrongDirectory
            case .clockOff: .clockOff
            case .unreachable, .protocolViolation, .unexpectedAnswer, .refused, .timedOut, .closed, .alreadyAsked:
                .directoryUnreachable
            }
        let advice: String =
            switch error.recovery {
            case .fixConfiguration(let advice): advice
            case .tryAgain: "check the directory's address, that it runs, and this machine's network"
            }
        return OnionClientError(kind, problem: "directory \(self.directoryName): \(error)", advice: advice)
    }

    private func operatorError(_ error: DirectoryError) -> OnionClientError {
        let problem = "directory \(self.directoryName): \(error)"
        guard case .fixConfiguration(let advice) = error.recovery else {
            return OnionClientError(.wrongDirectory, problem: problem, advice: "tell the directory's operator")
        }
        return OnionClientError(.clockOff, problem: problem, advice: advice)
    }

    // MARK: Keeping

    /// - Parameter quietWait: at least so long, but for a list that expires.
    private func waitUntilDue(_ quietWait: TimeAmount) async throws {
        let (consensus, expires, isTooSmall, hasCircuit) = try await self.onLoop {
            ($0.consensus, $0.assignment.expires, $0.isNetworkTooSmall, $0.pool.openCircuitCount > 0)
        }
        guard let consensus else { return }
        var generator = self.outside.generator
        if isTooSmall {
            // Asked directly, the directory answers when it has a newer list, so that asking is waiting; not so through a
            // circuit of before.
            let delay = TimeAmount.milliseconds(Int64.random(in: Self.troubleDelay, using: &generator))
            return try await self.outside.sleep(hasCircuit ? delay : Self.smallNetworkInterval)
        }
        let now = self.outside.unixSeconds
        let seconds = RefreshSchedule.secondsUntilRefresh(
            of: consensus, hasTicket: expires.map { now < $0 } ?? false, now: now, using: &generator)
        let start = self.outside.now()
        var due = start + max(.seconds(Int64(clamping: seconds)), quietWait)
        var (isTroubled, isDelayDrawn) = (false, false)
        while self.outside.now() < due {
            try await self.outside.sleep(min(.seconds(1), due - self.outside.now()))
            // The directory was asked a moment ago, and needs time to notice what went wrong.
            guard self.outside.now() - start >= Self.troubleInterval else { continue }
            let (hasTrouble, isExpired) = try await self.onLoop { ($0.takeTrouble(), $0.isExpired) }
            // That is the clock's doing, and no exit's.
            if hasTrouble, isExpired { return }
            isTroubled = isTroubled || hasTrouble
            guard isTroubled, !isDelayDrawn, self.outside.now() - start >= quietWait else { continue }
            isDelayDrawn = true
            let delay = Int64.random(in: Self.troubleDelay, using: &generator)
            due = min(due, self.outside.now() + .milliseconds(delay))
        }
    }

    /// Ask through a circuit; directly only when circuits have failed for a while.
    ///
    /// - Returns: whether there was a newer list.
    private func refresh() async throws -> Bool {
        let isCutOff = try await self.onLoop { core in
            // With an expired list, circuits that are open may be other programs', and no more can be built.
            (core.isExpired || core.pool.openCircuitCount == 0)
                && (core.isNetworkTooSmall || core.eventLoop.now - core.lastReadyAt > core.limits.directFallbackAfter)
        }
        if isCutOff {
            // The directory then learns that this address uses the network at this time, which it knew from the first
            // start. The alternative is a client that never comes back once all the guards it knows have new keys.
            self.logger.info("asking the directory directly: no circuit could be built")
            return try await self.fetchDirectly()
        }
        return try await self.fetchThroughCircuit()
    }

    private func fetchDirectly() async throws -> Bool {
        let connection = try await self.ways.direct()
        self.board.report(.loadingRouters)
        // Where no circuit can be built a revision names nobody on them; and who is told it answers when there is a newer list.
        let revision = try await self.onLoop { $0.isNetworkTooSmall && !$0.isExpired ? $0.consensus?.revision : nil }
        return try await self.fetch(over: connection, newerThan: revision ?? 0)
    }

    private func fetchThroughCircuit() async throws -> Bool {
        let promise = self.eventLoop.makePromise(of: OpenedStream.self)
        try await self.onLoop { core in
            var deadline = core.eventLoop.now + Self.streamPatience
            // Nothing is built then: either an open circuit takes the question soon, or another way must be tried.
            if core.isExpired { deadline = min(deadline, core.lastReadyAt + core.limits.directFallbackAfter) }
            core.add(
                PendingRequest(
                    .stream(.directory, earlyData: ByteBuffer(), promise), wish: .directory,
                    isolation: IsolationKey(listener: "", clientAddress: "", protocolName: "thor-directory"),
                    deadline: deadline, limits: core.limits, owner: core))
        }
        let stream = try await promise.futureResult.get()
        return try await self.fetch(over: try await self.ways.through(stream))
    }

    /// Fetch the ticket, when one is due, and the consensus.
    ///
    /// - Parameter revision: what the directory is told that the client has. A revision that it gave to one client alone would
    ///   be that client's name, on every circuit and from every address.
    /// - Returns: whether there was a newer list.
    private func fetch(over connection: DirectoryConnection, newerThan revision: UInt64 = 0) async throws -> Bool {
        do {
            let (previous, expires) = try await self.onLoop { ($0.consensus, $0.assignment.expires) }
            if RefreshSchedule.needsTicket(expires: expires, now: self.outside.unixSeconds) {
                try await self.fetchTicket(over: connection)
            }
            let consensus = try await connection.consensus(newerThan: revision)
            await connection.close()
            // What is on disk may be too old to be used, and yet nothing older may come after it.
            let floor = previous ?? self.store.load(directoryKey: self.configuration.directoryKey)
            guard let consensus else { return false }
            return try await self.accept(consensus, after: floor, inUse: previous)
        } catch {
            await connection.close()
            throw error
        }
    }

    private func fetchTicket(over connection: DirectoryConnection) async throws {
        let secret = self.outside.randomBytes()
        let commitment = PathSeed.commitment(to: secret)
        let ticket = try await connection.ticket(commitment: commitment)
        try ticket.check(commitment: commitment, now: self.outside.unixSeconds)
        try await self.onLoop { $0.adopt(ticket, for: secret) }
    }

    /// - Parameters:
    ///   - previous: what no older one may come after.
    ///   - inUse: what paths are drawn from now.
    /// - Returns: whether it is news.
    private func accept(_ consensus: Consensus, after previous: Consensus?, inUse: Consensus?) async throws -> Bool {
        let now = self.outside.unixSeconds
        do throws(DirectoryError) {
            try consensus.acceptance(after: previous, now: now)
        } catch {
            // No news, while there is one to work from.
            if case .older = error, let inUse, inUse.isValid(now: now) { return false }
            if case .equivocation = error, let previous { self.report(previous, consensus) }
            throw error
        }
        guard consensus.digest != inUse?.digest else { return false }
        do {
            try self.store.save(consensus)
        } catch {
            self.onAlarm(.consensusNotSaved(reason: "\(error)"))
        }
        try await self.onLoop { $0.adopt(consensus) }
        return true
    }

    /// The directory has signed two lists of one revision: keep both, and say so loudly. The first stays in use.
    private func report(_ one: Consensus, _ other: Consensus) {
        let files = (try? self.store.keepEvidence(one, other)) ?? []
        self.onAlarm(.directoryContradictsItself(evidence: files))
    }

    private func onLoop<T: Sendable>(_ body: @escaping @Sendable (ClientCore) throws -> T) async throws -> T {
        let core = self.core
        return try await self.eventLoop.submit { try body(core.value) }.get()
    }
}
