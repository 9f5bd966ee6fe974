public import NIOCore

/// What each source (an address, or a network of them) has open and how often it asks, so that none takes what is there
/// for all.
///
/// A connection is *half-open* until it is said to be established. A source is remembered while it has a connection, a
/// circuit or a bucket that is not full: forgetting another one changes nothing. When there are too many all the same,
/// those without a connection or circuit whose buckets are fullest are forgotten; whoever has so many addresses could
/// have used new ones.
///
/// - Invariant: at most `rememberedSources` entries, or one for each connection and circuit if that is more.
/// - Complexity: O(1) amortised; forgetting looks at all entries, and makes room for as many more as half of them.
/// - Source: DESIGN §7 *A link without a certificate*
public struct SourceLedger<Source: Hashable & Sendable>: Sendable {
    public struct Limits: Equatable, Sendable {
        /// Connections of all sources, and how many of those only exempt ones may use.
        public var connections: Int
        public var reservedConnections: Int
        public var connectionsPerSource: Int
        public var halfOpenPerSource: Int
        /// New connections of one source.
        public var connectsPerSecond: Int
        public var connectBurst: Int
        /// What one source asks for over all its connections.
        public var requestsPerSecond: Int
        public var requestBurst: Int
        /// Circuits of all sources, and how many of those only exempt ones may use. Not every owner has circuits.
        public var circuits: Int
        public var reservedCircuits: Int
        public var circuitsPerSource: Int
        public var rememberedSources: Int

        public init(
            connections: Int, reservedConnections: Int, connectionsPerSource: Int, halfOpenPerSource: Int,
            connectsPerSecond: Int, connectBurst: Int, requestsPerSecond: Int, requestBurst: Int,
            circuits: Int = 0, reservedCircuits: Int = 0, circuitsPerSource: Int = 0, rememberedSources: Int = 16_384
        ) {
            self.connections = connections
            self.reservedConnections = reservedConnections
            self.connectionsPerSource = connectionsPerSource
            self.halfOpenPerSource = halfOpenPerSource
            self.connectsPerSecond = connectsPerSecond
            self.connectBurst = connectBurst
            self.requestsPerSecond = requestsPerSecond
            self.requestBurst = requestBurst
            self.circuits = circuits
            self.reservedCircuits = reservedCircuits
            self.circuitsPerSource = circuitsPerSource
            self.rememberedSources = rememberedSources
        }
    }

    /// Which limit keeps a connection out.
    public enum Refusal: Equatable, Sendable {
        case connections, connectionsPerSource, halfOpenPerSource, connectsPerSource
    }

    /// Which limit keeps a circuit out.
    public enum CircuitRefusal: Equatable, Sendable {
        case circuits, circuitsPerSource
    }

    private struct Entry: Sendable {
        var connectionCount = 0
        var establishedCount = 0
        var circuitCount = 0
        var connects: TokenBucket
        var requests: TokenBucket

        init(_ limits: Limits, now: NIODeadline) {
            self.connects = TokenBucket(
                ratePerSecond: limits.connectsPerSecond, burst: limits.connectBurst, now: now)
            self.requests = TokenBucket(
                ratePerSecond: limits.requestsPerSecond, burst: limits.requestBurst, now: now)
        }

        /// Tokens that are missing from both buckets: 0 says that nothing is lost with the entry.
        mutating func missingTokens(now: NIODeadline) -> Int {
            self.connects.burst - self.connects.available(now: now) + self.requests.burst
                - self.requests.available(now: now)
        }
    }

    public private(set) var limits: Limits
    public private(set) var connectionCount = 0
    public private(set) var circuitCount = 0
    private var entries: [Source: Entry] = [:]

    public init(limits: Limits) { self.limits = limits }

    /// Sources that are remembered.
    public var sourceCount: Int { self.entries.count }

    /// Take other limits from now on. What is open stays; buckets begin anew if theirs have changed.
    public mutating func update(_ limits: Limits, now: NIODeadline) {
        guard limits != self.limits else { return }
        self.limits = limits
        for (source, old) in self.entries {
            var entry = Entry(limits, now: now)
            entry.connectionCount = old.connectionCount
            entry.establishedCount = old.establishedCount
            entry.circuitCount = old.circuitCount
            self.entries[source] = entry
        }
    }

    /// Count one more connection, or say what keeps it out.
    ///
    /// - Parameter isExempt: whether only the limit of all connections holds for the source.
    public mutating func admit(_ source: Source, isExempt: Bool = false, now: NIODeadline) -> Refusal? {
        let open = self.limits.connections - (isExempt ? 0 : self.limits.reservedConnections)
        guard self.connectionCount < open else { return .connections }
        var entry = self.entry(source, now: now)
        if !isExempt {
            guard entry.connectionCount < self.limits.connectionsPerSource else { return .connectionsPerSource }
            guard entry.connectionCount - entry.establishedCount < self.limits.halfOpenPerSource else {
                return .halfOpenPerSource
            }
            guard entry.connects.take(now: now) else { return .connectsPerSource }
        }
        entry.connectionCount += 1
        self.connectionCount += 1
        self.entries[source] = entry
        return nil
    }

    /// A connection of the source is half-open no more.
    public mutating func established(_ source: Source) { self.entries[source]?.establishedCount += 1 }

    /// What was established is over. Until it is closed, the connection counts as half-open again.
    public mutating func ended(_ source: Source) {
        guard let entry = self.entries[source], entry.establishedCount > 0 else { return }
        self.entries[source]?.establishedCount -= 1
    }

    /// A connection of the source is closed; said of each that was admitted, once.
    public mutating func closed(_ source: Source) {
        guard let entry = self.entries[source], entry.connectionCount > 0 else { return }
        self.entries[source]?.connectionCount -= 1
        self.connectionCount -= 1
    }

    /// Whether the source may ask for one more thing.
    public mutating func takeRequest(_ source: Source, now: NIODeadline) -> Bool {
        var entry = self.entry(source, now: now)
        defer { self.entries[source] = entry }
        return entry.requests.take(now: now)
    }

    /// Count one more circuit of the source, or say what keeps it out.
    ///
    /// - Parameter isExempt: whether only the limit of all circuits holds for the source.
    public mutating func takeCircuit(_ source: Source, isExempt: Bool = false, now: NIODeadline) -> CircuitRefusal? {
        let open = self.limits.circuits - (isExempt ? 0 : self.limits.reservedCircuits)
        guard self.circuitCount < open else { return .circuits }
        var entry = self.entry(source, now: now)
        guard isExempt || entry.circuitCount < self.limits.circuitsPerSource else { return .circuitsPerSource }
        entry.circuitCount += 1
        self.circuitCount += 1
        self.entries[source] = entry
        return nil
    }

    /// A circuit of the source has ended; said of each that was taken, once.
    public mutating func circuitEnded(_ source: Source) {
        guard let entry = self.entries[source], entry.circuitCount > 0 else { return }
        self.entries[source]?.circuitCount -= 1
        self.circuitCount -= 1
    }

    private mutating func entry(_ source: Source, now: NIODeadline) -> Entry {
        if let entry = self.entries[source] { return entry }
        if self.entries.count >= self.limits.rememberedSources { self.forgetSome(now: now) }
        return Entry(self.limits, now: now)
    }

    private mutating func forgetSome(now: NIODeadline) {
        var idle: [(source: Source, missing: Int)] = []
        for (source, entry) in self.entries where entry.connectionCount == 0 && entry.circuitCount == 0 {
            var entry = entry
            let missing = entry.missingTokens(now: now)
            if missing == 0 { self.entries[source] = nil } else { idle.append((source, missing)) }
        }
        guard self.entries.count >= self.limits.rememberedSources else { return }
        idle.sort { $0.missing < $1.missing }
        for (source, _) in idle.prefix((idle.count + 1) / 2) { self.entries[source] = nil }
    }
}
