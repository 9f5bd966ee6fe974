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
/// - Invariant: a circuit that carried, or was built for, one isolation key never serves another. One that was built for a
///   wish out of the ordinary serves that very wish alone. One that was had while exits were left out is a detour to whoever
///   does not leave them out, and serves him only where nothing else can be had.
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
        /// The exits that were left out when it was begun for somebody, or given to him.
        var excluded: Set<Ed25519PublicKey>
        var exit: ConsensusRouter?
        /// Whose streams it carries, or is to carry.
        var isolation: IsolationKey?
        /// Begin of the build, or when it opened.
        var since: NIODeadline
        var firstUsedAt: NIODeadline?
        var lastUsedAt: NIODeadline
        var streamCount = 0
        var carriedCount = 0

        var isIdle: Bool { self.phase == .open && self.streamCount == 0 }
    }

    private struct Demand: Hashable, Sendable {
        let wish: CircuitWish
        let isolation: IsolationKey
        let excluded: Set<Ed25519PublicKey>
    }

    /// What comes of a demand that no open circuit serves.
    private enum Prospect {
        /// A circuit is, or will soon be, under construction.
        case circuit
        /// One will be, but nothing can be begun at present.
        case later
        /// All that there may be carry streams.
        case noRoom
        /// None can be built for a long time.
        case hopeless
    }

    /// Circuits that have a limit in common.
    private enum Share: Hashable, Sendable {
        case directory, others
        /// The others' part that one program has, which has its destinations kept apart.
        case destinations(of: IsolationKey)
    }

    private struct Count: Sendable {
        var all = 0
        var building = 0
        /// Complete and without streams: these make way.
        var idle = 0

        mutating func add(_ entry: Entry, _ change: Int) {
            self.all += change
            if entry.phase == .building { self.building += change }
            if entry.isIdle { self.idle += change }
        }
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
    /// Those of them that nobody waits for any more; they leave in the next turn, all at once.
    private var withdrawn: Set<RequestKey> = []
    private var nextKey: UInt64 = 0
    private var recentWishes: [CircuitWish: NIODeadline] = [:]
    /// Wishes that this consensus cannot meet; nothing is built ahead for them.
    private var impossibleWishes: Set<CircuitWish> = []
    private var consecutiveFailureCount = 0
    private var notBefore: NIODeadline?
    private var mayBuild = false
    /// How many circuits there are, in a turn: each of a thousand demands may ask.
    private var counts: [Share: Count] = [:]

    /// Failed builds in a row that are answered at once by another; from then on a pause doubles from 100 ms.
    static let failuresWithoutPause = 3
    static let longestPause = TimeAmount.seconds(10)

    init(rules: Rules) { self.rules = rules }

    // MARK: Facts

    var waitingRequestCount: Int { self.requests.count - self.withdrawn.count }
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
        guard self.waitingRequestCount < self.rules.limits.waitingRequestCount || wish.isForDirectory else {
            return nil
        }
        let key = RequestKey(rawValue: self.makeKey())
        // The directory is asked seldom, and a pinned exit is one person's wish of the moment.
        if wish.lastHop != .directory, wish.exit == nil { self.remember(wish, now) }
        self.requests.append(
            Request(
                key: key, demand: Demand(wish: wish, isolation: isolation, excluded: excluded), deadline: deadline))
        return key
    }

    /// Nobody waits for the request any more.
    mutating func requestWithdrawn(_ key: RequestKey) { self.withdrawn.insert(key) }

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
        self.counts = [:]
        for entry in self.entries.values { self.count(entry, 1) }
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
        var stuckDestinations: [IsolationKey: Int] = [:]
        var waiting: [Request] = []
        for request in self.requests {
            let program = request.demand.isolation.program
            if self.withdrawn.contains(request.key) {
                continue
            } else if request.deadline <= now {
                actions.append(.giveUp(request.key))
            } else if stuck.contains(request.demand) {
                waiting.append(request)
            } else if let key = self.openCircuit(for: request.demand) {
                self.use(key, by: request.demand, now)
                actions.append(.attach(request.key, to: key))
            } else {
                let isOneTooMany =
                    stuck.count >= self.rules.limits.waitingDemandCount
                    || program.map({ stuckDestinations[$0, default: 0] }) ?? 0
                        >= self.share(of: self.rules.limits.waitingDemandCount)
                let prospect: Prospect
                if isOneTooMany, !request.demand.wish.isForDirectory {
                    // While nothing can be built that is the cause, and not the limit.
                    prospect = self.mayBuild ? .noRoom : .hopeless
                } else {
                    prospect = self.see(to: request.demand, now, isHopeless: isHopeless, &actions)
                }
                if prospect != .circuit, let detour = self.openDetour(for: request.demand) {
                    self.use(detour, by: request.demand, now)
                    actions.append(.attach(request.key, to: detour))
                    continue
                }
                switch prospect {
                case .circuit, .later:
                    stuck.insert(request.demand)
                    if let program { stuckDestinations[program, default: 0] += 1 }
                    waiting.append(request)
                case .noRoom: actions.append(.refuse(request.key))
                case .hopeless: actions.append(.giveUp(request.key))
                }
            }
        }
        self.requests = waiting
        self.withdrawn = []
    }

    private mutating func give(_ key: CircuitKey, to demand: Demand) {
        guard self.entries[key]?.isolation == nil else { return }
        self.change(key) { entry in
            entry.isolation = demand.isolation
            entry.excluded = demand.excluded
        }
        self.keysByIsolation[demand.isolation, default: []].append(key)
    }

    /// The circuit for a demand: one that has its isolation already rather than a clean one.
    private func openCircuit(for demand: Demand) -> CircuitKey? {
        // The youngest of one's own, the oldest of the clean: so it is always the same one, and each gets its turn.
        var own: CircuitKey?
        for key in self.ownKeys(for: demand) where self.isOpen(key, for: demand) && !self.isDetour(key, for: demand) {
            own = max(own ?? key, key)
        }
        if let own { return own }
        var clean: CircuitKey?
        for key in self.cleanKeys(for: demand) where self.isOpen(key, for: demand) { clean = min(clean ?? key, key) }
        return clean
    }

    /// The circuit for a demand that nothing better can be had for: the oldest, which has been led least far.
    private func openDetour(for demand: Demand) -> CircuitKey? {
        var detour: CircuitKey?
        for key in self.ownKeys(for: demand) where self.isOpen(key, for: demand) { detour = min(detour ?? key, key) }
        return detour
    }

    /// Whether exits were left out for the sake of a circuit that the demand would not leave out: a destination can lead a
    /// program from exit to exit by refusing them, and what the program does elsewhere must not follow.
    private func isDetour(_ key: CircuitKey, for demand: Demand) -> Bool {
        self.entries[key].map { !$0.excluded.isSubset(of: demand.excluded) } ?? false
    }

    private func ownKeys(for demand: Demand) -> [CircuitKey] { self.keysByIsolation[demand.isolation] ?? [] }

    /// The circuits that are nobody's, and may become the demand's; some have been given away in this turn.
    private func cleanKeys(for demand: Demand) -> [CircuitKey] {
        self.isShareFull(of: demand) ? [] : self.keysByIsolation[nil] ?? []
    }

    private func isOpen(_ key: CircuitKey, for demand: Demand) -> Bool {
        guard let entry = self.entries[key], entry.phase == .open else { return false }
        return entry.streamCount < self.rules.streamsPerCircuit && self.suits(entry, demand)
    }

    private func isBuilding(_ key: CircuitKey, for demand: Demand) -> Bool {
        guard let entry = self.entries[key], entry.phase == .building else { return false }
        return self.suits(entry, demand)
    }

    private func isSlow(_ key: CircuitKey, _ now: NIODeadline) -> Bool {
        self.entries[key].map { now - $0.since >= self.rules.slowBuildAfter } ?? false
    }

    private func suits(_ entry: Entry, _ demand: Demand) -> Bool {
        guard let exit = entry.exit, entry.isolation == nil || entry.isolation == demand.isolation else { return false }
        return self.serves(entry, demand.wish) && !demand.excluded.contains(exit.identity)
    }

    /// Whether a circuit's exit will do, and nobody led it there: whoever makes a program wish for a port, as any web page can,
    /// or for a country, must not choose the exit of what others do, or what it does besides.
    private func serves(_ entry: Entry, _ wish: CircuitWish) -> Bool {
        // One whose path is still to be drawn counts as what it was meant for.
        guard let exit = entry.exit else { return entry.wish == wish }
        return (entry.wish == wish || self.rules.defaultWishes.contains(entry.wish)) && wish.isMet(by: exit)
    }

    private mutating func use(_ key: CircuitKey, by demand: Demand, _ now: NIODeadline) {
        self.give(key, to: demand)
        self.change(key) { entry in
            entry.firstUsedAt = entry.firstUsedAt ?? now
            entry.lastUsedAt = now
            entry.streamCount += 1
            entry.carriedCount += 1
        }
    }

    /// See to it that a circuit for the demand is under construction: one that is being built for it, one that was
    /// being built ahead, or a new one.
    private mutating func see(
        to demand: Demand, _ now: NIODeadline, isHopeless: Bool, _ actions: inout [Action]
    ) -> Prospect {
        var hasSlow = false
        for key in self.ownKeys(for: demand)
        where self.isBuilding(key, for: demand) && !self.isDetour(key, for: demand) {
            guard self.isSlow(key, now) else { return .circuit }
            hasSlow = true
        }
        var ahead: CircuitKey?
        for key in self.cleanKeys(for: demand) where self.isBuilding(key, for: demand) {
            if self.isSlow(key, now) { hasSlow = true } else { ahead = min(ahead ?? key, key) }
        }
        if let ahead {
            self.give(ahead, to: demand)
            return .circuit
        }
        if !hasSlow {
            if isHopeless { return .hopeless }
            if self.isCrowded(for: demand) { return .noRoom }
        }
        guard self.mayBegin(now) else { return .later }
        self.build(demand.wish, for: demand.isolation, excluding: demand.excluded, now, &actions)
        return .circuit
    }

    /// Whether anything can be built now, as far as consensus, guards and failures go.
    private func mayBegin(_ now: NIODeadline) -> Bool { self.mayBuild && self.notBefore.map { $0 <= now } ?? true }

    private mutating func buildAhead(_ now: NIODeadline, _ actions: inout [Action]) {
        self.recentWishes = self.recentWishes.filter { now - $0.value < self.rules.limits.wishMemory }
        for wish in self.rules.defaultWishes + self.recentWishes.keys where !self.impossibleWishes.contains(wish) {
            let have = self.entries.values.count { entry in
                // What is to be let go has streams, and so somebody's isolation.
                entry.isolation == nil && self.serves(entry, wish)
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
        guard self.mayBegin(now),
            self.buildingCount < self.rules.limits.concurrentBuildCount || wish.isForDirectory
        else { return }
        let (share, part) = self.shares(of: wish, isolation)
        // The part first: whoever has all of his makes way for himself.
        if let part, self.isFull(part) { guard self.makeWay(in: part, &actions) else { return } }
        if self.isFull(share) {
            // Nothing makes way for a circuit that nobody waits for.
            guard isolation != nil, self.makeWay(in: share, &actions) else { return }
        }
        let key = CircuitKey(rawValue: self.makeKey())
        let entry = Entry(
            phase: .building, wish: wish, excluded: excluding, isolation: isolation, since: now, lastUsedAt: now)
        self.entries[key] = entry
        self.count(entry, 1)
        self.keysByIsolation[isolation, default: []].append(key)
        actions.append(.build(key, wish, excluding: excluding))
    }

    // MARK: Room

    /// Change a circuit in a turn, and what is counted with it.
    private mutating func change(_ key: CircuitKey, _ body: (inout Entry) -> Void) {
        guard var entry = self.entries[key] else { return }
        self.count(entry, -1)
        body(&entry)
        self.count(entry, 1)
        self.entries[key] = entry
    }

    private mutating func count(_ entry: Entry, _ change: Int) {
        let (share, part) = self.shares(of: entry.wish, entry.isolation)
        self.counts[share, default: Count()].add(entry, change)
        if let part { self.counts[part, default: Count()].add(entry, change) }
    }

    // Circuits to the directory have room of their own: programs that hold all the others must not keep the client from
    // the list of routers that it lives by.
    private func shares(of wish: CircuitWish, _ isolation: IsolationKey?) -> (Share, part: Share?) {
        wish.isForDirectory ? (.directory, nil) : (.others, isolation?.program.map { .destinations(of: $0) })
    }

    private func limit(of share: Share) -> Int {
        switch share {
        case .directory: self.rules.limits.directoryCircuitCount
        case .others: self.rules.limits.circuitCount
        case .destinations: self.share(of: self.rules.limits.circuitCount)
        }
    }

    /// What one program may have of so many where its destinations are kept apart.
    private func share(of count: Int) -> Int { max(1, count * self.rules.limits.destinationSharePercent / 100) }

    private var buildingCount: Int {
        (self.counts[.others]?.building ?? 0) + (self.counts[.directory]?.building ?? 0)
    }

    private func isFull(_ share: Share) -> Bool { (self.counts[share]?.all ?? 0) >= self.limit(of: share) }

    /// Whether the demand's program has all the circuits that it may have for its destinations.
    private func isShareFull(of demand: Demand) -> Bool {
        self.shares(of: demand.wish, demand.isolation).part.map(self.isFull) ?? false
    }

    /// Whether there is no room for another circuit, and none that will make way: each carries streams, and what is under
    /// construction may yet fail, or be idle.
    private func isCrowded(for demand: Demand) -> Bool {
        let isCrowded = { (share: Share) in
            let count = self.counts[share] ?? Count()
            return count.idle + count.building == 0 && count.all >= self.limit(of: share)
        }
        let (share, part) = self.shares(of: demand.wish, demand.isolation)
        return isCrowded(share) || part.map(isCrowded) ?? false
    }

    /// Close the circuit that has been idle longest.
    ///
    /// - Returns: whether there was one.
    private mutating func makeWay(in share: Share, _ actions: inout [Action]) -> Bool {
        guard (self.counts[share]?.idle ?? 0) > 0 else { return false }
        var longest: (key: CircuitKey, entry: Entry)?
        for (key, entry) in self.entries where entry.isIdle {
            let (whole, part) = self.shares(of: entry.wish, entry.isolation)
            guard whole == share || part == share else { continue }
            if let longest, longest.entry.lastUsedAt <= entry.lastUsedAt { continue }
            longest = (key, entry)
        }
        guard let (key, entry) = longest else { return false }
        self.entries[key] = nil
        self.count(entry, -1)
        actions.append(.close(key))
        return true
    }

    private mutating func makeKey() -> UInt64 {
        self.nextKey += 1
        return self.nextKey
    }
}
