import NIOCore
import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionClient

@Suite("Circuit pool")
struct CircuitPoolTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let exit: ConsensusRouter
    private let otherExit: ConsensusRouter

    init() throws {
        self.exit = try TestRouter().listed("exit", port: 1)
        self.otherExit = try TestRouter().listed("other", port: 2, policy: ["accept *:443", "reject *:*"])
    }

    private func key(_ user: String) -> IsolationKey {
        IsolationKey(protocolName: "socks5", username: Array(user.utf8))
    }

    /// Advance until nothing more is wanted; every build gets a path to `exit`. Returns the actions other than builds.
    private func settle(
        _ pool: inout CircuitPool, _ now: NIODeadline, exit: ConsensusRouter, opens: Bool = true
    ) -> [CircuitPool.Action] {
        var others: [CircuitPool.Action] = []
        for _ in 0..<50 {
            let actions = pool.advance(now: now, mayBuild: true)
            if actions.isEmpty { break }
            for action in actions {
                if case .build(let key, _, _) = action {
                    pool.pathDrawn(key, exit: exit)
                    if opens { pool.circuitOpened(key, now: now) }
                } else {
                    others.append(action)
                }
            }
        }
        return others
    }

    private func attached(_ actions: [CircuitPool.Action]) -> [CircuitPool.CircuitKey] {
        actions.compactMap { if case .attach(_, let circuit) = $0 { circuit } else { nil } }
    }

    private func makePool(_ change: (inout CircuitPool.Rules) -> Void = { _ in }) -> CircuitPool {
        var rules = CircuitPool.Rules()
        change(&rules)
        return CircuitPool(rules: rules)
    }

    private func ask(
        _ pool: inout CircuitPool, _ user: String, port: UInt16 = 443, excluded: Set<Ed25519PublicKey> = [],
        at now: NIODeadline
    ) -> CircuitPool.RequestKey? {
        pool.requestAdded(
            .port(port), isolation: self.key(user), excluded: excluded, deadline: now + .seconds(60), now: now)
    }

    @Test("builds nothing before there is a consensus and a guard")
    func notBefore() {
        var pool = self.makePool()
        _ = self.ask(&pool, "a", at: self.start)
        #expect(pool.advance(now: self.start, mayBuild: false).isEmpty)
    }

    @Test("keeps two clean circuits, which serve both default ports if they can")
    func buildsAhead() {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.exit)
        #expect(pool.openCircuitCount == 2)
    }

    @Test("never lets two isolation keys share a circuit, over many random requests", arguments: [1, 2, 3])
    func isolation(seed: UInt64) throws {
        var generator = Xorshift(state: seed &* 0x9e37_79b9_7f4a_7c15)
        var pool = self.makePool()
        var users: [CircuitPool.RequestKey: String] = [:]
        var owner: [CircuitPool.CircuitKey: String] = [:]
        var open: [CircuitPool.CircuitKey] = []
        var now = self.start
        for _ in 0..<1000 {
            let user = "user\(Int.random(in: 0..<20, using: &generator))"
            users[try #require(self.ask(&pool, user, at: now))] = user
            now = now + .seconds(Int64.random(in: 0..<30, using: &generator))
            for action in self.settle(&pool, now, exit: self.exit) {
                guard case .attach(let request, let circuit) = action else { continue }
                let user = try #require(users[request])
                #expect(owner[circuit, default: user] == user)
                owner[circuit] = user
                open.append(circuit)
                if open.count > 20 {
                    let index = Int.random(in: open.indices, using: &generator)
                    pool.streamClosed(on: open.remove(at: index), now: now)
                }
                if Int.random(in: 0..<20, using: &generator) == 0 { pool.circuitEnded(circuit, now: now) }
            }
        }
        #expect(pool.waitingRequestCount == 0)
        #expect(pool.circuitKeys.count <= pool.rules.limits.circuitCount)
    }

    @Test("the streams of one key share a circuit for ten minutes; it closes when its streams have ended")
    func lifetime() throws {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.exit)
        _ = self.ask(&pool, "a", at: self.start)
        let first = try #require(self.attached(self.settle(&pool, self.start, exit: self.exit)).first)
        _ = self.ask(&pool, "a", at: self.start + .seconds(599))
        let second = self.attached(self.settle(&pool, self.start + .seconds(599), exit: self.exit))
        #expect(second == [first])
        _ = self.ask(&pool, "a", at: self.start + .seconds(600))
        let later = self.settle(&pool, self.start + .seconds(600), exit: self.exit)
        #expect(!self.attached(later).contains(first) && self.attached(later).count == 1)
        #expect(pool.phase(of: first) == .retiring)
        pool.streamClosed(on: first, now: self.start + .seconds(700))
        #expect(!self.settle(&pool, self.start + .seconds(700), exit: self.exit).contains(.close(first)))
        pool.streamClosed(on: first, now: self.start + .seconds(701))
        #expect(self.settle(&pool, self.start + .seconds(701), exit: self.exit).contains(.close(first)))
    }

    @Test("a circuit whose exit does not allow the port is not used")
    func exitPolicy() {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.otherExit, opens: true)
        _ = self.ask(&pool, "a", port: 22, at: self.start)
        let actions = pool.advance(now: self.start, mayBuild: true)
        #expect(self.attached(actions).isEmpty)
        #expect(actions.contains { if case .build(_, .port(22), _) = $0 { true } else { false } })
    }

    @Test("a request that one exit refused goes to another")
    func excludedExit() {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.exit)
        _ = self.ask(&pool, "a", excluded: [self.exit.identity], at: self.start)
        let before = pool.circuitKeys
        let actions = self.settle(&pool, self.start, exit: self.otherExit)
        let attached = self.attached(actions)
        #expect(attached.count == 1 && !before.contains(attached[0]))
    }

    @Test("a clean circuit serves at once, and another is built in its place")
    func cleanServes() {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.exit)
        let clean = pool.circuitKeys
        _ = self.ask(&pool, "a", at: self.start)
        let actions = pool.advance(now: self.start, mayBuild: true)
        #expect(self.attached(actions) == [clean[0]])
        _ = self.settle(&pool, self.start, exit: self.exit)
        #expect(pool.openCircuitCount == pool.rules.limits.cleanCircuitCount + 1)
    }

    @Test("of clean circuits the oldest serves, of one's own the youngest, and one's own before a clean one")
    func choice() throws {
        for count in 2...16 {
            var pool = self.makePool {
                $0.limits.cleanCircuitCount = count
                $0.limits.concurrentBuildCount = count
                $0.streamsPerCircuit = 1
            }
            _ = self.settle(&pool, self.start, exit: self.exit)
            let clean = pool.circuitKeys
            for _ in 0..<count { _ = self.ask(&pool, "a", at: self.start) }
            #expect(self.attached(self.settle(&pool, self.start, exit: self.exit)) == clean)
            pool.rules.streamsPerCircuit = 2
            _ = self.ask(&pool, "a", at: self.start)
            #expect(self.attached(self.settle(&pool, self.start, exit: self.exit)) == clean.suffix(1))
        }
        var pool = self.makePool {
            $0.defaultWishes = [.port(443)]
            $0.limits.cleanCircuitCount = 1
        }
        _ = self.settle(&pool, self.start, exit: self.otherExit)
        let older = try #require(pool.circuitKeys.first)
        pool.rules.defaultWishes.append(.port(80))
        _ = self.ask(&pool, "a", port: 80, at: self.start)
        let own = self.attached(self.settle(&pool, self.start, exit: self.exit))
        #expect(own.count == 1 && own[0] > older)
        _ = self.ask(&pool, "a", port: 443, at: self.start)
        #expect(self.attached(self.settle(&pool, self.start, exit: self.exit)) == own)
    }

    static let wishes = [
        CircuitWish.port(80, exit: ExitWish(countries: .only(["XX"]))),
        .port(443, exit: ExitWish(countries: .not(["YY"]))), .port(22), .resolver,
    ]
    /// What `otherExit` does not meet.
    static let narrowWishes = [
        CircuitWish.port(443, exit: ExitWish(countries: .only(["XX"]))), .port(22), .port(80),
    ]

    /// A router that meets every one of the wishes.
    private func chosenExit() throws -> ConsensusRouter {
        let router = try TestRouter().listed("chosen", port: 3, country: "XX")
        #expect((Self.wishes + Self.narrowWishes).allSatisfy { $0.isMet(by: router) })
        return router
    }

    @Test(
        "a circuit that was built for a wish serves its own program no other, and the same again",
        arguments: Self.wishes)
    func builtForWish(wish: CircuitWish) throws {
        let exit = try self.chosenExit()
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        func ask(_ wish: CircuitWish) throws -> CircuitPool.CircuitKey {
            _ = pool.requestAdded(
                wish, isolation: self.key("a"), deadline: self.start + .seconds(60), now: self.start)
            return try #require(self.attached(self.settle(&pool, self.start, exit: exit)).first)
        }
        let (chosen, again) = (try ask(wish), try ask(wish))
        let (ordinary, other) = (try ask(.port(80)), try ask(.port(443)))
        // What nobody chose does for whoever wants what it happens to be.
        let odd = try ask(.port(23))
        #expect(again == chosen && ordinary != chosen && other == ordinary && odd == ordinary)
    }

    @Test("nor does it take over one under construction")
    func underConstructionForWish() {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        for port in [22, 443] as [UInt16] {
            _ = self.ask(&pool, "a", port: port, at: self.start)
            _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
        }
        #expect(pool.circuitKeys.count == 2)
    }

    @Test("what is built ahead for a remembered wish serves that wish, and nobody else", arguments: Self.narrowWishes)
    func rememberedForWish(wish: CircuitWish) throws {
        let chosen = try self.chosenExit()
        var pool = self.makePool {
            $0.defaultWishes = [.port(443)]
            $0.limits.circuitCount = 1000
        }
        var builtForWish: Set<CircuitPool.CircuitKey> = []
        func settle() -> [CircuitPool.CircuitKey] {
            var attached: [CircuitPool.CircuitKey] = []
            for _ in 0..<50 {
                let actions = pool.advance(now: self.start, mayBuild: true)
                if actions.isEmpty { break }
                attached += self.attached(actions)
                for case .build(let key, let built, _) in actions {
                    if built == wish { builtForWish.insert(key) }
                    pool.pathDrawn(key, exit: built == wish ? chosen : self.otherExit)
                    pool.circuitOpened(key, now: self.start)
                }
            }
            return attached
        }
        func ask(_ wish: CircuitWish, _ user: String) -> [CircuitPool.CircuitKey] {
            _ = pool.requestAdded(
                wish, isolation: self.key(user), deadline: self.start + .seconds(60), now: self.start)
            return settle()
        }
        _ = ask(wish, "page")
        for user in 0..<100 {
            let attached = ask(.port(443), "\(user)")
            #expect(attached.count == 1 && builtForWish.isDisjoint(with: attached))
        }
        #expect(builtForWish.count == 1 + pool.rules.limits.cleanCircuitCount)
        #expect(builtForWish.isSuperset(of: ask(wish, "other")))
    }

    @Test("whoever waits gets the oldest of the circuits that are built ahead, and it counts as clean no longer")
    func takesOver() throws {
        for count in 2...12 {
            var pool = self.makePool {
                $0.defaultWishes = [.port(443)]
                $0.limits.cleanCircuitCount = count
                $0.limits.concurrentBuildCount = 100
            }
            _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
            let ahead = pool.circuitKeys
            #expect(ahead.count == count)
            _ = self.ask(&pool, "a", at: self.start)
            _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
            #expect(pool.circuitKeys.count == count + 1)
            pool.circuitOpened(ahead[0], now: self.start)
            #expect(self.attached(self.settle(&pool, self.start, exit: self.exit, opens: false)) == [ahead[0]])
            #expect(pool.circuitKeys.count == count + 1)
        }
    }

    @Test("whoever has a circuit under construction takes over none that is built ahead")
    func ownUnderConstruction() {
        var pool = self.makePool {
            $0.defaultWishes = [.port(443)]
            $0.limits.cleanCircuitCount = 0
        }
        _ = self.ask(&pool, "a", at: self.start)
        _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
        pool.rules.limits.cleanCircuitCount = 1
        for _ in 0..<2 {
            _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
            #expect(pool.circuitKeys.count == 2)
            _ = self.ask(&pool, "a", at: self.start)
        }
    }

    // MARK: Detours

    /// The one circuit that a request gets.
    private func circuit(
        _ pool: inout CircuitPool, _ user: String = "a", excluded: Set<Ed25519PublicKey> = [], at now: NIODeadline,
        exit: ConsensusRouter
    ) throws -> CircuitPool.CircuitKey {
        _ = self.ask(&pool, user, excluded: excluded, at: now)
        let attached = self.attached(self.settle(&pool, now, exit: exit))
        try #require(attached.count == 1)
        return attached[0]
    }

    /// A circuit by `exit`, and then a detour by `otherExit`: begun for a request that `exit` has refused, or clean before.
    private func addDetour(
        _ pool: inout CircuitPool, clean: Bool = false
    ) throws -> (first: CircuitPool.CircuitKey, detour: CircuitPool.CircuitKey) {
        pool.rules.limits.cleanCircuitCount = 0
        let first = try self.circuit(&pool, at: self.start, exit: self.exit)
        if clean {
            pool.rules.limits.cleanCircuitCount = 1
            _ = self.settle(&pool, self.start, exit: self.otherExit)
            pool.rules.limits.cleanCircuitCount = 0
        }
        let before = pool.circuitKeys
        let detour = try self.circuit(&pool, excluded: [self.exit.identity], at: self.start, exit: self.otherExit)
        #expect(detour > first && before.contains(detour) == clean)
        return (first, detour)
    }

    @Test("what a refusal led to is a detour: only who leaves out as much goes there too", arguments: [false, true])
    func detour(clean: Bool) throws {
        var pool = self.makePool { $0.defaultWishes = [.port(443)] }
        let (first, detour) = try self.addDetour(&pool, clean: clean)
        #expect(try self.circuit(&pool, at: self.start, exit: self.exit) == first)
        for excluded in [[self.exit.identity], [self.exit.identity, TestRouter().identity.publicKey]] {
            #expect(try self.circuit(&pool, excluded: Set(excluded), at: self.start, exit: self.exit) == detour)
        }
        // Who leaves out another exit has not been led there.
        let other = Set([self.otherExit.identity])
        #expect(try self.circuit(&pool, excluded: other, at: self.start, exit: self.exit) == first)
    }

    @Test(
        "where there are detours alone a clean circuit serves, or one under construction, or a new one",
        arguments: 0..<3)
    func detourLast(way: Int) throws {
        var pool = self.makePool { $0.defaultWishes = [.port(443)] }
        let (first, detour) = try self.addDetour(&pool)
        pool.circuitEnded(first, now: self.start)
        pool.rules.limits.cleanCircuitCount = way == 0 ? 0 : 1
        _ = self.settle(&pool, self.start, exit: self.exit, opens: way == 1)
        let clean = pool.circuitKeys.filter { $0 != detour }
        pool.rules.limits.cleanCircuitCount = 0
        #expect(clean.count == (way == 0 ? 0 : 1))
        _ = self.ask(&pool, "a", at: self.start)
        let actions = self.settle(&pool, self.start, exit: self.exit, opens: way == 0)
        let serving = try #require(pool.circuitKeys.last)
        #expect(pool.circuitKeys == [detour, serving] && (way == 0 || clean == [serving]))
        if way == 2 {
            #expect(actions.isEmpty && pool.waitingRequestCount == 1)
            pool.circuitOpened(serving, now: self.start)
            #expect(self.attached(pool.advance(now: self.start, mayBuild: true)) == [serving])
        } else {
            #expect(self.attached(actions) == [serving])
        }
        // It is no detour.
        #expect(try self.circuit(&pool, at: self.start, exit: self.exit) == serving)
    }

    @Test(
        "a detour under construction is not waited for by who leaves out less, and a clean one becomes one then already"
    )
    func detourUnderConstruction() throws {
        for cleanCount in 0...1 {
            var pool = self.makePool {
                $0.defaultWishes = [.port(443)]
                $0.limits.cleanCircuitCount = cleanCount
            }
            _ = self.settle(&pool, self.start, exit: self.otherExit, opens: false)
            pool.rules.limits.cleanCircuitCount = 0
            _ = self.ask(&pool, "a", excluded: [self.exit.identity], at: self.start)
            _ = self.settle(&pool, self.start, exit: self.otherExit, opens: false)
            let detour = try #require(pool.circuitKeys.first)
            #expect(pool.circuitKeys.count == 1)
            _ = self.ask(&pool, "a", at: self.start)
            _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
            #expect(pool.circuitKeys.count == 2)
            pool.circuitOpened(detour, now: self.start)
            #expect(self.attached(pool.advance(now: self.start, mayBuild: true)) == [detour])
            #expect(pool.waitingRequestCount == 1)
        }
    }

    /// What there is none of, so that no other circuit can be had.
    enum Want: CaseIterable { case room, guards, places, patience, list }

    @Test("a detour serves before a request is sent away, or waits for what cannot be begun", arguments: Want.allCases)
    func detourAtLast(want: Want) throws {
        var pool = self.makePool()
        let (first, detour) = try self.addDetour(&pool)
        pool.circuitEnded(first, now: self.start)
        let further = try self.circuit(
            &pool, excluded: [self.exit.identity, self.otherExit.identity], at: self.start,
            exit: TestRouter().listed("further", port: 3))
        #expect(further > detour)
        switch want {
        case .room: pool.rules.limits.circuitCount = pool.circuitKeys.count
        case .places: pool.rules.limits.waitingDemandCount = 0
        case .patience:
            _ = self.ask(&pool, "b", at: self.start)
            for _ in 0...CircuitPool.failuresWithoutPause {
                _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
                pool.circuitEnded(try #require(pool.circuitKeys.last), now: self.start)
            }
        case .guards, .list: break
        }
        let request = try #require(self.ask(&pool, "a", at: self.start))
        let actions = pool.advance(
            now: self.start, mayBuild: want != .guards && want != .list, isHopeless: want == .list)
        #expect(actions.contains(.attach(request, to: detour)))
    }

    @Test("a detour is nobody else's, takes new streams for ten minutes, and none after a new identity is wanted")
    func detourIsACircuit() throws {
        let excluded = Set([self.exit.identity])
        var pool = self.makePool { $0.defaultWishes = [.port(443)] }
        let (_, detour) = try self.addDetour(&pool, clean: true)
        let other = try self.circuit(&pool, "b", excluded: excluded, at: self.start, exit: self.otherExit)
        #expect(other != detour)
        let (almost, over) = (self.start + .seconds(599), self.start + .seconds(600))
        #expect(try self.circuit(&pool, excluded: excluded, at: almost, exit: self.otherExit) == detour)
        let next = try self.circuit(&pool, excluded: excluded, at: over, exit: self.otherExit)
        #expect(next != detour && pool.phase(of: detour) == .retiring)
        pool.retireAll()
        let last = try self.circuit(&pool, excluded: excluded, at: over, exit: self.otherExit)
        #expect(last != next && pool.phase(of: next) == .retiring)
    }

    @Test("a program that tries many ports moves other ports out of memory, and has no more remembered")
    func rememberedWishes() {
        for limit in [2, 3] {
            var pool = self.makePool {
                $0.defaultWishes = []
                $0.limits.cleanCircuitCount = 1
                $0.limits.rememberedWishCount = limit
                $0.limits.concurrentBuildCount = 100
            }
            for port in 1...3 as ClosedRange<UInt16> {
                let now = self.start + .seconds(Int64(port))
                _ = pool.requestAdded(.port(port), isolation: self.key("a"), deadline: now, now: now)
            }
            var wishes: Set<CircuitWish> = []
            // Nobody waits any more: what is built now is built ahead.
            for _ in 0..<10 {
                for case .build(let key, let wish, _) in pool.advance(now: self.start + .seconds(4), mayBuild: true) {
                    wishes.insert(wish)
                    #expect(pool.pathImpossible(key).isEmpty)
                }
            }
            #expect(wishes == Set((UInt16(4 - limit)...3).map { CircuitWish.port($0) }))
        }
    }

    @Test("two requests that one circuit will do for have one built")
    func sameDemand() {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        for _ in 0..<2 { _ = self.ask(&pool, "a", at: self.start) }
        #expect(pool.advance(now: self.start, mayBuild: true).count == 1)
    }

    @Test("a full circuit gets a second one beside it, of the same key")
    func streamsAtOnce() {
        var pool = self.makePool { $0.streamsPerCircuit = 2 }
        for _ in 0..<3 { _ = self.ask(&pool, "a", at: self.start) }
        let circuits = self.attached(self.settle(&pool, self.start, exit: self.exit))
        #expect(circuits.count == 3)
        #expect(Set(circuits).count == 2)
    }

    @Test("a circuit that has carried its share of streams takes no more")
    func wornOut() throws {
        var pool = self.makePool { $0.limits.carriedStreamsPerCircuit = 2 }
        var circuits: [CircuitPool.CircuitKey] = []
        for second in 0..<3 as Range<Int64> {
            let now = self.start + .seconds(second)
            _ = self.ask(&pool, "a", at: now)
            circuits.append(try #require(self.attached(self.settle(&pool, now, exit: self.exit)).first))
            pool.streamClosed(on: try #require(circuits.last), now: now)
        }
        #expect(circuits[0] == circuits[1] && circuits[1] != circuits[2])
    }

    @Test("a circuit that nobody has used goes when it is old, and not before")
    func unused() {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.exit)
        let clean = pool.circuitKeys
        let old = self.start + pool.rules.limits.unusedCircuitAge
        _ = self.settle(&pool, old - .nanoseconds(1), exit: self.exit)
        #expect(pool.circuitKeys == clean)
        _ = self.settle(&pool, old, exit: self.exit)
        #expect(Set(pool.circuitKeys).isDisjoint(with: clean))
    }

    @Test("the limit of circuits holds: idle ones make way for whoever waits, and used ones do not")
    func circuitLimit() throws {
        var pool = self.makePool { $0.limits.circuitCount = 3 }
        _ = self.settle(&pool, self.start, exit: self.exit)
        var used: Set<CircuitPool.CircuitKey> = []
        for user in 0..<3 {
            _ = self.ask(&pool, "\(user)", at: self.start)
            used.formUnion(self.attached(self.settle(&pool, self.start, exit: self.exit)))
            #expect(pool.circuitKeys.count <= 3)
        }
        #expect(used.count == 3 && used == Set(pool.circuitKeys))
        // One that takes no more streams, and has some, is in the way as well.
        pool.retire(try #require(used.first))
        for user in 3..<5 {
            let request = try #require(self.ask(&pool, "\(user)", at: self.start))
            #expect(self.settle(&pool, self.start, exit: self.exit) == [.refuse(request)])
        }
        #expect(pool.waitingRequestCount == 0 && used == Set(pool.circuitKeys))
        // A used one whose streams have ended makes way for a request, and not for one that is built ahead.
        for circuit in used { pool.streamClosed(on: circuit, now: self.start) }
        for user in 3..<5 { _ = self.ask(&pool, "\(user)", at: self.start) }
        #expect(self.attached(self.settle(&pool, self.start, exit: self.exit)).count == 2)
        #expect(pool.waitingRequestCount == 0)
        for circuit in pool.circuitKeys { pool.streamClosed(on: circuit, now: self.start) }
        let before = pool.circuitKeys
        #expect(self.settle(&pool, self.start, exit: self.exit).isEmpty)
        #expect(pool.circuitKeys == before)
    }

    @Test("a build that is slow gets a competitor, and whoever is first serves")
    func slowBuild() throws {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        _ = self.ask(&pool, "a", at: self.start)
        _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
        #expect(pool.circuitKeys.count == 1)
        let later = self.start + pool.rules.limits.slowBuildAfter
        _ = self.settle(&pool, later, exit: self.exit, opens: false)
        #expect(pool.circuitKeys.count == 2)
        let competitor = try #require(pool.circuitKeys.last)
        pool.circuitOpened(competitor, now: later)
        #expect(self.attached(pool.advance(now: later, mayBuild: true)) == [competitor])
    }

    @Test("failed builds are repeated at once, then with growing pauses")
    func backoff() {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        _ = self.ask(&pool, "a", at: self.start)
        for _ in 0...CircuitPool.failuresWithoutPause {
            _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
            for key in pool.circuitKeys { pool.circuitEnded(key, now: self.start) }
        }
        #expect(pool.advance(now: self.start, mayBuild: true).isEmpty)
        #expect(!pool.advance(now: self.start + .milliseconds(100), mayBuild: true).isEmpty)
    }

    @Test("the first failures make no pause, and however many there were, it is ten seconds at most")
    func pauses() {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        _ = self.ask(&pool, "a", at: self.start)
        var now = self.start
        for count in 1...100 {
            for key in pool.circuitKeys { pool.circuitEnded(key, now: now) }
            #expect(pool.failureCount == count - 1)
            if count > CircuitPool.failuresWithoutPause + 1 {
                #expect(pool.advance(now: now, mayBuild: true).isEmpty)
                now = now + CircuitPool.longestPause
            }
            // The request's patience is renewed.
            _ = self.ask(&pool, "a", at: now)
            _ = self.settle(&pool, now, exit: self.exit, opens: false)
            #expect(pool.circuitKeys.count == 1)
        }
        for key in pool.circuitKeys { pool.circuitEnded(key, now: now) }
        _ = self.ask(&pool, "a", at: now)
        let early = now + CircuitPool.longestPause - .nanoseconds(1)
        #expect(pool.advance(now: early, mayBuild: true).allSatisfy { if case .build = $0 { false } else { true } })
    }

    @Test("a circuit that was complete and ends is no failed build")
    func endIsNoFailure() {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.exit)
        for key in pool.circuitKeys { pool.circuitEnded(key, now: self.start) }
        #expect(pool.failureCount == 0)
    }

    @Test("patience ends at its deadline and not before")
    func patience() throws {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        let request = try #require(self.ask(&pool, "a", at: self.start))
        #expect(pool.advance(now: self.start + .seconds(60) - .nanoseconds(1), mayBuild: false).isEmpty)
        #expect(pool.advance(now: self.start + .seconds(60), mayBuild: false) == [.giveUp(request)])
    }

    @Test("takes requests up to its limit")
    func requestLimit() {
        var pool = self.makePool { $0.limits.waitingRequestCount = 2 }
        #expect(self.ask(&pool, "a", at: self.start) != nil)
        #expect(self.ask(&pool, "a", at: self.start) != nil)
        #expect(self.ask(&pool, "a", at: self.start) == nil)
    }

    @Test("builds so many circuits at once and no more; what is over makes room")
    func concurrentBuilds() throws {
        var pool = self.makePool {
            $0.limits.cleanCircuitCount = 0
            $0.limits.concurrentBuildCount = 2
        }
        for user in ["a", "b", "c"] { _ = self.ask(&pool, user, at: self.start) }
        _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
        #expect(pool.circuitKeys.count == 2)
        pool.circuitOpened(try #require(pool.circuitKeys.first), now: self.start)
        _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
        #expect(pool.circuitKeys.count == 3)
    }

    @Test("has so many circuits and no more: the one that has been idle longest makes way for one that is asked for")
    func circuitCount() throws {
        var pool = self.makePool {
            $0.limits.cleanCircuitCount = 0
            $0.limits.circuitCount = 2
        }
        var circuits: [CircuitPool.CircuitKey] = []
        for (seconds, user) in ["a", "b"].enumerated() {
            let now = self.start + .seconds(Int64(seconds))
            _ = self.ask(&pool, user, at: now)
            circuits += self.attached(self.settle(&pool, now, exit: self.exit))
        }
        let later = self.start + .seconds(2)
        // Both are in use.
        let refused = try #require(self.ask(&pool, "c", at: later))
        #expect(self.settle(&pool, later, exit: self.exit) == [.refuse(refused)])
        #expect(pool.circuitKeys == circuits)
        _ = self.ask(&pool, "c", at: later)
        for (milliseconds, circuit) in circuits.enumerated() {
            pool.streamClosed(on: circuit, now: later + .milliseconds(Int64(milliseconds)))
        }
        let actions = self.settle(&pool, later + .seconds(1), exit: self.exit)
        #expect(actions.first == .close(circuits[0]) && self.attached(actions).count == 1)
        #expect(pool.circuitKeys.count == 2 && pool.circuitKeys.first == circuits[1])
    }

    @Test("who waits when there is no room gets the place of a circuit that ends")
    func roomAgain() throws {
        var pool = self.makePool {
            $0.limits.cleanCircuitCount = 0
            $0.limits.circuitCount = 2
        }
        for user in ["a", "b"] {
            _ = self.ask(&pool, user, at: self.start)
            _ = self.settle(&pool, self.start, exit: self.exit, opens: user == "a")
        }
        _ = self.ask(&pool, "c", at: self.start)
        // What is under construction may yet fail.
        #expect(self.settle(&pool, self.start, exit: self.exit).isEmpty && pool.waitingRequestCount == 2)
        pool.circuitEnded(try #require(pool.circuitKeys.first), now: self.start)
        #expect(self.attached(self.settle(&pool, self.start, exit: self.exit)).count == 1)
    }

    @Test("circuits to the directory have room of their own, and only there do they make way")
    func directoryRoom() throws {
        var pool = self.makePool {
            $0.limits.cleanCircuitCount = 0
            $0.limits.circuitCount = 1
            $0.limits.directoryCircuitCount = 1
        }
        func askDirectory(_ user: String) -> CircuitPool.RequestKey? {
            pool.requestAdded(
                .directory, isolation: self.key(user), deadline: self.start + .seconds(60), now: self.start)
        }
        _ = self.ask(&pool, "a", at: self.start)
        let used = self.attached(self.settle(&pool, self.start, exit: self.exit))
        _ = askDirectory("directory")
        let directory = self.attached(self.settle(&pool, self.start, exit: self.exit))
        #expect(used.count == 1 && directory.count == 1 && pool.circuitKeys == used + directory)
        // One past either limit.
        var refused = try #require(self.ask(&pool, "b", at: self.start))
        #expect(self.settle(&pool, self.start, exit: self.exit) == [.refuse(refused)])
        refused = try #require(askDirectory("other"))
        #expect(self.settle(&pool, self.start, exit: self.exit) == [.refuse(refused)])
        pool.streamClosed(on: directory[0], now: self.start)
        refused = try #require(self.ask(&pool, "b", at: self.start))
        #expect(self.settle(&pool, self.start, exit: self.exit) == [.refuse(refused)])
        _ = askDirectory("other")
        let actions = self.settle(&pool, self.start, exit: self.exit)
        #expect(actions.first == .close(directory[0]) && self.attached(actions).count == 1)
    }

    @Test("a circuit to the directory is begun however many others are under construction")
    func directoryAtOnce() {
        var pool = self.makePool {
            $0.limits.cleanCircuitCount = 0
            $0.limits.concurrentBuildCount = 1
        }
        for user in ["a", "b"] { _ = self.ask(&pool, user, at: self.start) }
        #expect(pool.advance(now: self.start, mayBuild: true).count == 1)
        _ = pool.requestAdded(
            .directory, isolation: self.key("directory"), deadline: self.start + .seconds(60), now: self.start)
        #expect(pool.advance(now: self.start, mayBuild: true).count == 1 && pool.circuitKeys.count == 2)
    }

    @Test("requests wait for so many different circuits and no more, but for the directory's")
    func demandLimit() throws {
        // While nothing can be built, that is why.
        for mayBuild in [true, false] {
            var pool = self.makePool { $0.limits.waitingDemandCount = 2 }
            let keys = try ["a", "b", "a", "c"].map { try #require(self.ask(&pool, $0, at: self.start)) }
            _ = pool.requestAdded(
                .directory, isolation: self.key("directory"), deadline: self.start + .seconds(60), now: self.start)
            #expect(
                self.sentAway(pool.advance(now: self.start, mayBuild: mayBuild))
                    == [mayBuild ? .refuse(keys[3]) : .giveUp(keys[3])])
            #expect(pool.waitingRequestCount == 4)
        }
    }

    private func sentAway(_ actions: [CircuitPool.Action]) -> [CircuitPool.Action] {
        actions.filter {
            switch $0 {
            case .giveUp, .refuse: true
            case .attach, .build, .close: false
            }
        }
    }

    private func askSite(_ pool: inout CircuitPool, _ site: Int) throws -> CircuitPool.RequestKey {
        var key = self.key("browser")
        key.destination = "site\(site):443"
        let request = pool.requestAdded(
            .port(443), isolation: key, deadline: self.start + .seconds(60), now: self.start)
        return try #require(request)
    }

    @Test("destinations of one program wait for three quarters of the different circuits, and leave the rest")
    func destinationDemands() throws {
        var pool = self.makePool { $0.limits.waitingDemandCount = 4 }
        let sites = try (0..<4).map { try self.askSite(&pool, $0) }
        let other = try #require(self.ask(&pool, "other", at: self.start))
        let another = try #require(self.ask(&pool, "another", at: self.start))
        let actions = self.sentAway(pool.advance(now: self.start, mayBuild: true))
        #expect(actions == [.refuse(sites[3]), .refuse(another)] && other != another)
        #expect(pool.waitingRequestCount == 4)
    }

    @Test("destinations of one program have three quarters of the circuits, clean ones too", arguments: [0, 2])
    func destinationCircuits(cleanCount: Int) throws {
        var pool = self.makePool {
            $0.limits.circuitCount = 8
            $0.limits.cleanCircuitCount = cleanCount
        }
        var used: [CircuitPool.CircuitKey] = []
        for site in 0..<6 {
            _ = try self.askSite(&pool, site)
            used += self.attached(self.settle(&pool, self.start, exit: self.exit))
        }
        #expect(used.count == 6)
        let refused = try self.askSite(&pool, 6)
        #expect(self.settle(&pool, self.start, exit: self.exit) == [.refuse(refused)])
        for user in ["a", "b"] {
            _ = self.ask(&pool, user, at: self.start)
            #expect(self.attached(self.settle(&pool, self.start, exit: self.exit)).count == 1)
        }
        // An idle one of its own makes way.
        pool.streamClosed(on: used[2], now: self.start)
        _ = try self.askSite(&pool, 7)
        let actions = self.settle(&pool, self.start, exit: self.exit)
        #expect(actions.first == .close(used[2]) && self.attached(actions).count == 1)
        #expect(pool.circuitKeys.count == 8)
    }

    @Test("a request that is taken back leaves its place at once, and has no circuit begun")
    func withdrawn() throws {
        var pool = self.makePool {
            $0.limits.waitingRequestCount = 1
            $0.limits.cleanCircuitCount = 0
        }
        let first = try #require(self.ask(&pool, "a", at: self.start))
        pool.requestWithdrawn(first)
        #expect(pool.waitingRequestCount == 0)
        let second = try #require(self.ask(&pool, "b", at: self.start))
        #expect(self.ask(&pool, "c", at: self.start) == nil)
        // One for the directory is always taken.
        let directory = pool.requestAdded(
            .directory, isolation: self.key("directory"), deadline: self.start + .seconds(60), now: self.start)
        #expect(directory != nil)
        pool.requestWithdrawn(second)
        let actions = pool.advance(now: self.start, mayBuild: true)
        #expect(actions.count == 1 && pool.waitingRequestCount == 1)
    }

    @Test("when nothing will be built for long, only who needs a circuit to be begun is sent away")
    func hopeless() throws {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        for user in ["a", "b"] {
            _ = self.ask(&pool, user, at: self.start)
            _ = self.settle(&pool, self.start, exit: self.exit, opens: user == "a")
        }
        let late = self.start + pool.rules.slowBuildAfter
        let (open, lost) = (self.ask(&pool, "a", at: late), try #require(self.ask(&pool, "c", at: late)))
        let actions = pool.advance(now: late, mayBuild: false, isHopeless: true)
        let (first, served) = (try #require(pool.circuitKeys.first), try #require(open))
        #expect(actions == [.attach(served, to: first), .giveUp(lost)])
        #expect(pool.waitingRequestCount == 1)
    }

    @Test("a circuit carries so many streams in its life and no more")
    func carriedStreams() {
        var pool = self.makePool {
            $0.limits.cleanCircuitCount = 0
            $0.limits.carriedStreamsPerCircuit = 2
        }
        var circuits: [CircuitPool.CircuitKey] = []
        for _ in 0..<3 {
            _ = self.ask(&pool, "a", at: self.start)
            circuits += self.attached(self.settle(&pool, self.start, exit: self.exit))
        }
        #expect(circuits.count == 3)
        #expect(circuits[0] == circuits[1] && circuits[1] != circuits[2])
    }

    @Test("a circuit under construction makes no way for another")
    func buildingStays() {
        var pool = self.makePool {
            $0.limits.cleanCircuitCount = 0
            $0.limits.circuitCount = 2
        }
        for user in ["a", "b"] { _ = self.ask(&pool, user, at: self.start) }
        _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
        let before = pool.circuitKeys
        _ = self.ask(&pool, "c", at: self.start)
        #expect(self.settle(&pool, self.start, exit: self.exit, opens: false).isEmpty)
        #expect(pool.circuitKeys == before)
    }

    @Test("what cannot be built is not built ahead until there is another consensus")
    func impossibleAhead() throws {
        var pool = self.makePool { $0.defaultWishes = [.port(443)] }
        guard case .build(let key, _, _)? = pool.advance(now: self.start, mayBuild: true).first else {
            Issue.record("nothing built")
            return
        }
        #expect(pool.pathImpossible(key).isEmpty)
        #expect(pool.advance(now: self.start, mayBuild: true).isEmpty)
        pool.consensusChanged()
        #expect(!pool.advance(now: self.start, mayBuild: true).isEmpty)
    }

    @Test("where only the exits that refused a request are left, others that wish the same still have them")
    func impossibleWithout() throws {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        let excluding = try #require(self.ask(&pool, "a", excluded: [self.exit.identity], at: self.start))
        _ = self.ask(&pool, "b", at: self.start)
        for action in pool.advance(now: self.start, mayBuild: true) {
            guard case .build(let key, _, let excluded) = action, !excluded.isEmpty else { continue }
            #expect(pool.pathImpossible(key) == [excluding])
        }
        #expect(pool.waitingRequestCount == 1)
    }

    @Test("an impossible wish fails the requests that have it, and no others")
    func impossible() throws {
        var pool = self.makePool { $0.limits.cleanCircuitCount = 0 }
        let request = try #require(self.ask(&pool, "a", port: 25, at: self.start))
        _ = self.ask(&pool, "a", port: 443, at: self.start)
        for action in pool.advance(now: self.start, mayBuild: true) {
            guard case .build(let key, .port(25), _) = action else { continue }
            #expect(pool.pathImpossible(key) == [request])
        }
        #expect(pool.waitingRequestCount == 1)
    }

    @Test("a new identity lets no circuit of now carry new streams")
    func newIdentity() throws {
        var pool = self.makePool()
        _ = self.settle(&pool, self.start, exit: self.exit)
        _ = self.ask(&pool, "a", at: self.start)
        let before = try #require(self.attached(self.settle(&pool, self.start, exit: self.exit)).first)
        pool.retireAll()
        _ = self.ask(&pool, "a", at: self.start)
        let after = self.attached(self.settle(&pool, self.start, exit: self.exit))
        #expect(after.count == 1 && after != [before])
        #expect(pool.phase(of: before) == .retiring)
    }

    @Test("nor does a circuit that was under construction then, and is complete a moment later")
    func newIdentityWhileBuilding() throws {
        var pool = self.makePool()
        _ = self.ask(&pool, "a", at: self.start)
        _ = self.settle(&pool, self.start, exit: self.exit, opens: false)
        let before = pool.circuitKeys
        pool.retireAll()
        for key in before { pool.circuitOpened(key, now: self.start) }
        #expect(!before.isEmpty && before.allSatisfy { pool.phase(of: $0) == .retiring })
        #expect(self.attached(pool.advance(now: self.start, mayBuild: true)).isEmpty)
    }

    @Test("what was asked for is built ahead for an hour after, and no longer")
    func wishMemory() {
        func builds(after time: TimeAmount) -> Bool {
            var pool = self.makePool { $0.defaultWishes = [] }
            _ = self.ask(&pool, "a", port: 22, at: self.start)
            _ = self.settle(&pool, self.start, exit: self.exit)
            // Those that were built ahead are old by then, and go.
            let actions = pool.advance(now: self.start + time, mayBuild: true)
            return actions.contains { if case .build(_, .port(22), _) = $0 { true } else { false } }
        }
        let memory = OnionClient.Limits().wishMemory
        #expect(builds(after: memory - .nanoseconds(1)))
        #expect(!builds(after: memory))
    }
}

/// A reproducible generator for tests; any seed but 0.
struct Xorshift: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        self.state ^= self.state << 13
        self.state ^= self.state >> 7
        self.state ^= self.state << 17
        return self.state
    }
}
