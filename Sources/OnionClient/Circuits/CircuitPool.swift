import NIOCore
import OnionCrypto
import OnionDirectory

/// Which circuit serves which request, which are built ahead, and when one is let go. Pure: it holds names, not circuits.
///
///                 pathDrawn, circuitOpened        first stream            lifetime, ids spent, retire
///     building ───────────────────────▶ open, clean ──────────▶ open, isolated ──────▶ retiring ── no streams ──▶ closed
///        └─ circuitFailed, pathImpossible ──▶ gone                  (any) circuitDied ──▶ gone
///
/// Report events as they happen, then call ``advance(now:)`` and do what it says. It returns a list, as one event (a
/// circuit that is ready) may serve many requests.
///
/// - Invariant: a circuit that carried, or was built for, one isolation key never serves another.
/// - Source: DESIGN §10 *Isolation*, *Circuits are built ahead of need*
struct CircuitPool: Sendable {
    /// A circuit's name; never used twice.
    struct CircuitKey: Hashable, Sendable, Comparable {
        let rawValue: UInt64
        static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }
    /// A request's name; never used twice.
    struct RequestKey: Hashable, Sendable { let rawValue: UInt64 }

    enum Action: Equatable, Sendable {
        /// Open the request's stream on the circuit.
        case attach(RequestKey, to: CircuitKey)
        /// Draw a path and build it: ``pathDrawn(_:exit:)`` or ``pathImpossible(_:)`` follows at once.
        case build(CircuitKey, CircuitWish, excluding: Set<Ed25519PublicKey>)
        /// Close a circuit without streams.
        case close(CircuitKey)
        /// The request has waited too long, or would.
        case giveUp(RequestKey)
        /// There are too many circuits, or too many are asked for, for the request to get one soon.
        case refuse(RequestKey)
    }

    struct Rules: Sendable {
        var limits = OnionClient.Limits()
        /// What is built ahead for before anybody has asked for anything.
        var defaultWishes = [CircuitWish.port(443), CircuitWish.port(80)]
        /// For how long after its first stream a circuit takes new ones.
        var lifetime = TimeAmount.minutes(10)
        /// Streams at once on one circuit.
        var streamsPerCircuit = 256
        /// A circuit that is not complete after this long gets a competitor, if somebody waits for it; see ``BuildTimes``.
        var slowBuildAfter = OnionClient.Limits().slowBuildAfter
    }

    enum Phase: Equatable, Sendable { case building, open, retiring }

    private struct Entry: Sendable {
        var phase: Phase
        let wish: CircuitWish
        let excluded: Set<Ed25519PublicKey>
        var exit: ConsensusRouter?
        /// Whose streams it carries, or is to carry.
        var isolation: IsolationKey?
        /// Begin of the build, or when it opened.
        var since: NIODeadline
        var firstUsedAt: NIODeadline?
        var lastUsedAt: NIODeadline
        var streamCount = 0
        var carriedCount = 0
    }

    private struct Demand: Hashable, Sendable {
        let wish: CircuitWish
        let isolation: IsolationKey
        let excluded: Set<Ed25519PublicKey>
    }

    /// What comes of a demand that no open circuit serves.
    private enum Prospect {
        /// A circuit is, or will be, under construction.
        case circuit
        /// All that there may be carry streams.
        case noRoom
        /// None can be built for a long time.
        case hopeless
    }

    private struct Request: Sendable {
        let key: RequestKey
        let demand: Demand
        let deadline: NIODeadline
    }

    var rules: Rules
    private var entries: [CircuitKey: Entry] = [:]
    /// The circuits of each isolation key, and the clean ones, while requests are served: there may be a thousand demands.
    private var keysByIsolation: [IsolationKey?: [CircuitKey]] = [:]
    /// In order of arrival.
    private var requests: [Request] = []
    private var nextKey: UInt64 = 0
    private var recentWishes: [CircuitWish: NIODeadline] = [:]
    /// Wishes that this consensus cannot meet; nothing is built ahead for them.
    private var impossibleWishes: Set<CircuitWish> = []
    private var consecutiveFailureCount = 0
    private var notBefore: NIODeadline?
    private var mayBuild = false
    /// Circuits under construction, in a turn.
    private var buildingCount = 0

    /// Failed builds in a row that are answered at once by another; from then on a pause doubles from 100 ms.
    static let failuresWithoutPause = 3
    static let longestPause = TimeAmount.seconds(10)

    init(rules: Rules) { self.rules = rules }

    // MARK: Facts

    var waitingRequestCount: Int { self.requests.count }
    var circuitKeys: [CircuitKey] { self.entries.keys.sorted() }
    func phase(of key: CircuitKey) -> Phase? { self.entries[key]?.phase }
    func streamCount(of key: CircuitKey) -> Int { self.entries[key]?.streamCount ?? 0 }
    var openCircuitCount: Int { self.entries.values.count { $0.phase == .open } }
    /// How many builds in a row have failed.
    var failureCount: Int { self.consecutiveFailureCount }

    // MARK: Requests

    /// Somebody wants a circuit.
    ///
    /// - Parameters:
    ///   - excluded: exits that have refused this request.
    ///   - deadline: the end of the request's patience.
    /// - Returns: nil when too many wait already.
    mutating func requestAdded(
        _ wish: CircuitWish, isolation: IsolationKey, excluded: Set<Ed25519PublicKey> = [], deadline: NIODeadline,
        now: NIODeadline
    ) -> RequestKey? {
        guard self.requests.count < self.rules.limits.waitingRequestCount else { return nil }
        let key = RequestKey(rawValue: self.makeKey())
        // The directory is asked seldom, and a pinned exit is one person's wish of the moment.
        if wish.lastHop != .directory, wish.exit == nil { self.remember(wish, now) }
        self.requests.append(
            Request(
                key: key, demand: Demand(wish: wish, isolation: isolation, excluded: excluded), deadline: deadline))
        return key
    }

    /// Note a wish that circuits are built ahead for. A program that tries many ports, which a web page can be, moves the others
    /// out of memory and does nothing else.
    private mutating func remember(_ wish: CircuitWish, _ now: NIODeadline) {
        self.recentWishes[wish] = now
        guard self.recentWishes.count > self.rules.limits.rememberedWishCount,
            let oldest = self.recentWishes.min(by: { $0.value < $1.value })?.key
        else { return }
        self.recentWishes[oldest] = nil
        self.impossibleWishes.remove(oldest)
    }

    // MARK: Circuits

    /// The path of a circuit that is being built is known.
    mutating func pathDrawn(_ key: CircuitKey, exit: ConsensusRouter) { self.entries[key]?.exit = exit }

    /// There is no path as wished in this consensus.
    ///
    /// - Returns: the requests that wait for just such a path; they are forgotten.
    mutating func pathImpossible(_ key: CircuitKey) -> [RequestKey] {
        guard let entry = self.entries.removeValue(forKey: key) else { return [] }
        let isBuiltAhead = self.rules.defaultWishes.contains(entry.wish) || self.recentWishes[entry.wish] != nil
        if entry.excluded.isEmpty, isBuiltAhead { self.impossibleWishes.insert(entry.wish) }
        let isLost = { (request: Request) in
            request.demand.wish == entry.wish && request.demand.excluded == entry.excluded
        }
        let lost = self.requests.filter(isLost).map(\.key)
        self.requests.removeAll(where: isLost)
        return lost
    }

    /// A circuit is complete.
    mutating func circuitOpened(_ key: CircuitKey, now: NIODeadline) {
        self.consecutiveFailureCount = 0
        self.notBefore = nil
        guard var entry = self.entries[key], entry.phase == .building else { return }
        entry.phase = .open
        entry.since = now
        self.entries[key] = entry
    }

    /// A circuit ended, complete or not; its requests and streams are the caller's to bring back.
    mutating func circuitEnded(_ key: CircuitKey, now: NIODeadline) {
        guard let entry = self.entries.removeValue(forKey: key), entry.phase == .building else { return }
        self.consecutiveFailureCount += 1
        let beyond = self.consecutiveFailureCount - Self.failuresWithoutPause
        guard beyond > 0 else { return }
        let pause = TimeAmount.milliseconds(50 << Int64(min(beyond, 10)))
        self.notBefore = now + min(pause, Self.longestPause)
    }

    /// A stream that was attached is over.
    mutating func streamClosed(on key: CircuitKey, now: NIODeadline) {
        guard var entry = self.entries[key] else { return }
        entry.streamCount -= 1
        entry.lastUsedAt = now
        self.entries[key] = entry
    }

    /// Let a circuit take no new streams.
    mutating func retire(_ key: CircuitKey) { self.entries[key]?.phase = .retiring }

    /// Let no circuit of now take new streams: a new identity is wanted.
    mutating func retireAll() { for key in self.entries.keys { self.entries[key]?.phase = .retiring } }

    /// There is another consensus: what was impossible may be possible.
    mutating func consensusChanged() { self.impossibleWishes = [] }

    /// Nothing speaks against building at once: a guard can be reached again.
    mutating func pauseOver() {
        self.consecutiveFailureCount = 0
        self.notBefore = nil
    }

    // MARK: Decisions

    /// Decide what is to be done now. Call after events, and now and then.
    ///
    /// - Parameters:
    ///   - mayBuild: whether there is a consensus, and a guard that can be reached.
    ///   - isHopeless: whether there will be neither for so long that nobody should wait for a circuit to be built.
    /// - Complexity: O(requests + circuits + different demands × circuits that may serve one).
    mutating func advance(now: NIODeadline, mayBuild: Bool, isHopeless: Bool = false) -> [Action] {
        var actions: [Action] = []
        self.mayBuild = mayBuild
        self.letGo(now, &actions)
        self.buildingCount = self.entries.values.count { $0.phase == .building }
        self.serve(now, isHopeless: isHopeless, &actions)
        if mayBuild { self.buildAhead(now, &actions) }
        return actions
    }

    private mutating func letGo(_ now: NIODeadline, _ actions: inout [Action]) {
        for key in self.circuitKeys {
            guard let entry = self.entries[key] else { continue }
            if entry.phase == .open, self.isWornOut(entry, now) { self.entries[key]?.phase = .retiring }
            if self.entries[key]?.phase == .retiring, entry.streamCount == 0 {
                self.entries[key] = nil
                actions.append(.close(key))
            }
        }
    }

    private func isWornOut(_ entry: Entry, _ now: NIODeadline) -> Bool {
        if entry.carriedCount >= self.rules.limits.carriedStreamsPerCircuit { return true }
        if let firstUsedAt = entry.firstUsedAt { return now - firstUsedAt >= self.rules.lifetime }
        return now - entry.since >= self.rules.limits.unusedCircuitAge
    }

    private mutating func serve(_ now: NIODeadline, isHopeless: Bool, _ actions: inout [Action]) {
        self.keysByIsolation = Dictionary(grouping: self.entries, by: \.value.isolation).mapValues { $0.map(\.key) }
        var stuck: Set<Demand> = []
        var waiting: [Request] = []
        for request in self.requests {
            if request.deadline <= now {
                actions.append(.giveUp(request.key))
            } else if stuck.contains(request.demand) {
                waiting.append(request)
            } else if let key = self.openCircuit(for: request.demand) {
                self.use(key, by: request.demand.isolation, now)
                actions.append(.attach(request.key, to: key))
            } else if stuck.count >= self.rules.limits.waitingDemandCount, !request.demand.wish.isForDirectory {
                actions.append(.refuse(request.key))
            } else {
                switch self.see(to: request.demand, now, isHopeless: isHopeless, &actions) {
                case .circuit:
                    stuck.insert(request.demand)
                    waiting.append(request)
                case .noRoom: actions.append(.refuse(request.key))
                case .hopeless: actions.append(.giveUp(request.key))
                }
            }
        }
        self.requests = waiting
    }

    /// The circuits that may serve an isolation key: its own and the clean ones.
    private func keys(for isolation: IsolationKey) -> [CircuitKey] {
        (self.keysByIsolation[isolation] ?? []) + (self.keysByIsolation[nil] ?? [])
    }

    private mutating func give(_ key: CircuitKey, to isolation: IsolationKey) {
        guard self.entries[key]?.isolation == nil else { return }
        self.entries[key]?.isolation = isolation
        self.keysByIsolation[isolation, default: []].append(key)
    }

    /// The circuit for a demand: one that has its isolation already rather than a clean one.
    private func openCircuit(for demand: Demand) -> CircuitKey? {
        var clean: CircuitKey?
        var own: CircuitKey?
        for key in self.keys(for: demand.isolation) {
            guard let entry = self.entries[key], entry.phase == .open, self.suits(entry, demand),
                entry.streamCount < self.rules.streamsPerCircuit
            else { continue }
            // The youngest of one's own, the oldest of the clean: so it is always the same one, and each gets its turn.
            if entry.isolation != nil {
                own = max(own ?? key, key)
            } else {
                clean = min(clean ?? key, key)
            }
        }
        return own ?? clean
    }

    private func suits(_ entry: Entry, _ demand: Demand) -> Bool {
        guard let exit = entry.exit, entry.isolation == nil || entry.isolation == demand.isolation else { return false }
        return demand.wish.isMet(by: exit) && !demand.excluded.contains(exit.identity)
    }

    private mutating func use(_ key: CircuitKey, by isolation: IsolationKey, _ now: NIODeadline) {
        self.give(key, to: isolation)
        guard var entry = self.entries[key] else { return }
        entry.firstUsedAt = entry.firstUsedAt ?? now
        entry.lastUsedAt = now
        entry.streamCount += 1
        entry.carriedCount += 1
        self.entries[key] = entry
    }

    /// See to it that a circuit for the demand is under construction: one that is being built for it, one that was
    /// being built ahead, or a new one.
    private mutating func see(
        to demand: Demand, _ now: NIODeadline, isHopeless: Bool, _ actions: inout [Action]
    ) -> Prospect {
        var ahead: CircuitKey?
        var hasSlow = false
        for key in self.keys(for: demand.isolation) {
            guard let entry = self.entries[key], entry.phase == .building, self.suits(entry, demand) else { continue }
            guard now - entry.since < self.rules.slowBuildAfter else {
                hasSlow = true
                continue
            }
            if entry.isolation != nil { return .circuit }
            ahead = min(ahead ?? key, key)
        }
        if let ahead {
            self.give(ahead, to: demand.isolation)
            return .circuit
        }
        if !hasSlow {
            if isHopeless { return .hopeless }
            if self.isCrowded(for: demand.wish) { return .noRoom }
        }
        self.build(demand.wish, for: demand.isolation, excluding: demand.excluded, now, &actions)
        return .circuit
    }

    private mutating func buildAhead(_ now: NIODeadline, _ actions: inout [Action]) {
        self.recentWishes = self.recentWishes.filter { now - $0.value < self.rules.limits.wishMemory }
        for wish in self.rules.defaultWishes + self.recentWishes.keys where !self.impossibleWishes.contains(wish) {
            let have = self.entries.values.count { entry in
                // What is to be let go has streams, and so somebody's isolation.
                guard entry.isolation == nil else { return false }
                // One whose path is still to be drawn counts as what it was meant for.
                return entry.exit.map(wish.isMet) ?? (entry.wish == wish)
            }
            guard have < self.rules.limits.cleanCircuitCount else { continue }
            // One at a time: the path of each decides whether it serves the next wish, too.
            return self.build(wish, for: nil, excluding: [], now, &actions)
        }
    }

    private mutating func build(
        _ wish: CircuitWish, for isolation: IsolationKey?, excluding: Set<Ed25519PublicKey>, _ now: NIODeadline,
        _ actions: inout [Action]
    ) {
        guard self.mayBuild, self.notBefore.map({ $0 <= now }) ?? true,
            self.buildingCount < self.rules.limits.concurrentBuildCount || wish.isForDirectory
        else { return }
        if self.kin(of: wish).count >= self.limit(for: wish) {
            // Nothing makes way for a circuit that nobody waits for.
            guard isolation != nil, let idle = self.longestIdle(like: wish) else { return }
            self.entries[idle] = nil
            actions.append(.close(idle))
        }
        let key = CircuitKey(rawValue: self.makeKey())
        self.entries[key] = Entry(
            phase: .building, wish: wish, excluded: excluding, isolation: isolation, since: now, lastUsedAt: now)
        self.keysByIsolation[isolation, default: []].append(key)
        self.buildingCount += 1
        actions.append(.build(key, wish, excluding: excluding))
    }

    // Circuits to the directory have room of their own: programs that hold all the others must not keep the client from
    // the list of routers that it lives by.
    private func limit(for wish: CircuitWish) -> Int {
        wish.isForDirectory ? self.rules.limits.directoryCircuitCount : self.rules.limits.circuitCount
    }

    private func kin(of wish: CircuitWish) -> [CircuitKey: Entry] {
        self.entries.filter { $0.value.wish.isForDirectory == wish.isForDirectory }
    }

    /// Whether there is no room for another circuit, and none that will make way: each carries streams, and what is under
    /// construction may yet fail, or be idle.
    private func isCrowded(for wish: CircuitWish) -> Bool {
        // In this order: it is asked often, and most often one without streams is found soon.
        self.entries.values.allSatisfy { $0.streamCount > 0 || $0.wish.isForDirectory != wish.isForDirectory }
            && self.kin(of: wish).count >= self.limit(for: wish)
    }

    private func longestIdle(like wish: CircuitWish) -> CircuitKey? {
        self.kin(of: wish).filter { $0.value.phase == .open && $0.value.streamCount == 0 }
            .min { $0.value.lastUsedAt < $1.value.lastUsedAt }?.key
    }

    private mutating func makeKey() -> UInt64 {
        self.nextKey += 1
        return self.nextKey
    }
}
