import DirectoryClient
import Foundation
import HostilePeers
import NIOConcurrencyHelpers
import OnionAddress
import OnionCrypto
import OnionDirectory
import ThorDaemon
import ThorTestnet

/// Attacks by a directory server on those who trust it, with its key and without. What is done to a directory server is
/// in ``RegistrationAttacks``.
enum DirectoryAttacks {
    static let all =
        Lie.allCases.map(Self.lie) + [Self.rolledBack, Self.twoLists, Self.otherCommitment]
        + Trouble.allCases.map(Self.trouble) + RegistrationAttacks.all

    /// A consensus that nobody may take.
    enum Lie: String, CaseIterable {
        case forged, expired, future, truncated, tampered

        var tries: String {
            switch self {
            case .forged: "signed by another key"
            case .expired: "truly signed, and expired"
            case .future: "truly signed, and valid an hour from now"
            case .truncated: "cut off near its beginning, in it, and at its last byte"
            case .tampered: "with one bit changed: the first, the last, two in it"
            }
        }

        /// Where the lies are, as parts of the consensus's length: two for each start of a daemon.
        var places: [[Double]] {
            switch self {
            case .forged, .expired, .future: [[0, 1]]
            case .truncated, .tampered: [[0, 0.5], [0.25, 1]]
            }
        }

        func bytes(_ genuine: Consensus, _ forger: ForgedConsensus, _ place: Double) throws -> [UInt8] {
            switch self {
            case .forged: try forger.make(genuine.routers, key: Ed25519PrivateKey()).bytes
            case .expired: try forger.make(genuine.routers, age: 10_801).bytes
            case .future: try forger.make(genuine.routers, ahead: 3600).bytes
            case .truncated: Self.cut(genuine.bytes, at: max(1, Int(place * Double(genuine.bytes.count - 1))))
            case .tampered: Self.flip(genuine.bytes, bit: Int(place * Double(8 * genuine.bytes.count - 1)))
            }
        }

        /// All that can be made of a consensus so: a daemon gets some of them.
        func all(_ genuine: Consensus) -> [[UInt8]] {
            let bytes = genuine.bytes
            return switch self {
            case .forged, .expired, .future: []
            case .truncated: bytes.indices.map { Self.cut(bytes, at: $0) }
            case .tampered: (0..<8 * bytes.count).map { Self.flip(bytes, bit: $0) }
            }
        }

        private static func cut(_ bytes: [UInt8], at count: Int) -> [UInt8] { Array(bytes.prefix(count)) }

        private static func flip(_ bytes: [UInt8], bit: Int) -> [UInt8] {
            var bytes = bytes
            bytes[bit / 8] ^= 1 << (bit % 8)
            return bytes
        }
    }

    /// So many lies come before the truth; a proxy gives up after three.
    private static let lieCount = 2

    private static let daemons: [DaemonRole] = [.proxy, .router(0)]

    private static func lie(_ lie: Lie) -> Attack {
        Attack(
            "directory-consensus-\(lie.rawValue)",
            tries:
                "a directory serves a thor-proxy and a thor-router a consensus \(lie.tries); two of them, then a good one",
            expects: "both refuse the first two, ask again, and are ready with the third", needsDaemons: true
        ) { arena in
            var trials = Trials()
            let forger = try ForgedConsensus(arena)
            let genuine = try forger.along(Array(arena.routers.prefix(3)))
            let key = arena.network.directoryKey
            for bytes in lie.all(genuine) {
                let isTaken = (try? Consensus(verifying: bytes, directoryKey: key)) != nil
                trials.expect(!isTaken, "one of \(bytes.count) bytes was taken")
            }
            for places in lie.places {
                for role in Self.daemons {
                    let failure = try await Self.refusal(arena, role, forger) { genuine, count in
                        try lie.bytes(genuine, forger, places[count - 1])
                    }
                    trials.add(failure: failure)
                }
            }
            return trials.outcome("none was taken; each daemon was ready with the good one")
        }
    }

    /// Serve a daemon two lies, and then the truth; nil if it has asked again after each for what it had asked for at first,
    /// and is ready with the truth.
    ///
    /// - Parameters:
    ///   - revision: of the truth.
    ///   - lieCount: 0 for the control.
    ///   - lie: made from the truth, for the so-many-th question.
    private static func refusal(
        _ arena: Arena, _ role: DaemonRole, _ forger: ForgedConsensus, state: String? = nil, revision: UInt64? = nil,
        lieCount: Int = Self.lieCount,
        lie: @escaping @Sendable (_ genuine: Consensus, _ count: Int) throws -> [UInt8]
    ) async throws -> String? {
        let key = arena.directorySecret
        let path = try forger.along(Array(arena.routers.prefix(3))).routers
        let listed = NIOLockedValueBox<[ConsensusRouter]>([])
        let asked = NIOLockedValueBox<[UInt64]>([])
        let directory = try await HostileDirectory(key: key) { message, count in
            if case .register(let bytes) = message, let own = try? SignedDescriptor(verifying: bytes) {
                listed.withLockedValue { $0 = [ConsensusRouter(descriptor: own, flags: [], weight: 1)] }
            }
            guard let genuine = try? forger.make(listed.withLockedValue { $0 } + path, revision: revision) else {
                return [.close]
            }
            guard case .getConsensus(let known) = message, count <= lieCount + 1 else {
                return ForgedConsensus.answer(message, genuine, key)
            }
            asked.withLockedValue { $0.append(known) }
            guard count <= lieCount else { return ForgedConsensus.answer(message, genuine, key) }
            guard let bytes = try? lie(genuine, count) else { return [.close] }
            return [.message(.consensus(bytes))]
        }
        let failure = try await Self.isReady(arena, role, directory, state: state)
        await directory.stop()
        if let failure { return failure }
        let known = asked.withLockedValue { $0 }
        guard known.count > lieCount else { return "\(role.executable) was ready after \(known.count) consensuses" }
        // Whoever believes a list asks for what is newer than that.
        return Set(known).count == 1 ? nil : "\(role.executable) believed a lie: it asked for newer than \(known)"
    }

    /// Start a daemon that has this directory, and wait until it is ready; nil if it is.
    private static func isReady(
        _ arena: Arena, _ role: DaemonRole, _ directory: HostileDirectory, state: String? = nil
    ) async throws -> String? {
        let starter = try arena.needDaemons()
        let daemon = try Self.start(arena, role, directory.endpoint, state: state)
        defer { starter.forget(daemon) }
        do {
            _ = try await daemon.ready(seconds: 30)
        } catch {
            await starter.stop(daemon)
            return "\(role.executable) did not get ready with the good one: \(error)"
        }
        await starter.stop(daemon)
        return nil
    }

    private static func start(
        _ arena: Arena, _ role: DaemonRole, _ directory: Endpoint, state: String? = nil
    ) throws -> StartedDaemon {
        let starter = try arena.needDaemons()
        let common = ["\(directory)", try starter.writeKey(arena.network.directoryKey)]
        let own = role == .proxy ? [] : [try starter.writeSecret(Ed25519PrivateKey())]
        return try starter.start(role, common + own + ["--listen", "127.0.0.1:0"], state: state)
    }

    /// A state directory whose daemon has seen a consensus of this revision, which is too old to be used.
    private static func stateKnowing(_ revision: UInt64, _ role: DaemonRole, _ arena: Arena) throws -> String {
        let state = try arena.needDaemons().freshPath(role.executable)
        try FileManager.default.createDirectory(
            atPath: state, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let known = try ForgedConsensus(arena).make(arena.routers, revision: revision, age: 20_000)
        try ConsensusStore(path: "\(state)/consensus").save(known)
        return state
    }

    private static let rolledBack = Attack(
        "directory-consensus-rolled-back",
        tries:
            "a directory serves a starting thor-proxy and thor-router a consensus that is older than one they have seen, "
            + "twice, then a newer one; and a running thor-router an older one",
        expects: "they refuse the older, and take the newer", needsDaemons: true
    ) { arena in
        let forger = try ForgedConsensus(arena)
        var trials = Trials()
        for role in Self.daemons {
            let state = try Self.stateKnowing(forger.revision, role, arena)
            let failure = try await Self.refusal(
                arena, role, forger, state: state, revision: forger.revision + 1
            ) { genuine, _ in try forger.make(genuine.routers, revision: forger.revision - 1).bytes }
            trials.add(failure: failure)
        }
        trials.add(failure: try await Self.runningRolledBack(arena, forger))
        return trials.outcome("the older was refused, the newer taken")
    }

    /// Serve a router a good consensus, then an older one, then a newer one; nil if it takes the first and the last.
    private static func runningRolledBack(_ arena: Arena, _ forger: ForgedConsensus) async throws -> String? {
        let key = arena.directorySecret
        let path = try forger.along(Array(arena.routers.prefix(3))).routers
        let first = forger.revision
        let listed = NIOLockedValueBox<[ConsensusRouter]>([])
        let asked = NIOLockedValueBox<[UInt64]>([])
        let directory = try await HostileDirectory(key: key) { message, count in
            if case .register(let bytes) = message, let own = try? SignedDescriptor(verifying: bytes) {
                listed.withLockedValue { $0 = [ConsensusRouter(descriptor: own, flags: [], weight: 1)] }
            }
            var revision = first
            if case .getConsensus(let known) = message {
                asked.withLockedValue { $0.append(known) }
                revision = count == 1 ? first : count == 2 ? first - 1 : first + 1
            }
            guard let consensus = try? forger.make(listed.withLockedValue { $0 } + path, revision: revision) else {
                return [.close]
            }
            guard case .getConsensus = message, count == 2 else {
                return ForgedConsensus.answer(message, consensus, key)
            }
            return [.message(.consensus(consensus.bytes))]
        }
        let starter = try arena.needDaemons()
        let daemon = try Self.start(arena, .router(0), directory.endpoint)
        do {
            try await starter.using(daemon) {
                _ = try await daemon.ready(seconds: 30)
                try? await Wait.until("it has asked four times", seconds: 20) {
                    asked.withLockedValue { $0.count } >= 4
                }
            }
        } catch {
            await directory.stop()
            throw error
        }
        await directory.stop()
        let known = asked.withLockedValue { $0.prefix(4) }
        return known == [0, first, first, first + 1]
            ? nil : "a running thor-router asked for newer than \(Array(known))"
    }

    private static let twoLists = Attack(
        "directory-consensus-two-lists",
        tries: "a directory signs two consensuses of one revision, and shows a thor-proxy and a thor-router the second",
        expects: "they refuse the second; the proxy keeps both as evidence", needsDaemons: true
    ) { arena in
        let forger = try ForgedConsensus(arena)
        var trials = Trials()
        for role in Self.daemons {
            let state = try Self.stateKnowing(forger.revision, role, arena)
            let failure = try await Self.refusal(
                arena, role, forger, state: state, revision: forger.revision + 1
            ) { genuine, _ in try forger.make(genuine.routers, revision: forger.revision).bytes }
            trials.add(failure: failure)
            guard role == .proxy else { continue }
            let names = (try? FileManager.default.contentsOfDirectory(atPath: state)) ?? []
            trials.expect(names.count { $0.contains("evidence") } == 2, "there is no evidence in \(names)")
        }
        return trials.outcome("the second was refused, both were kept")
    }

    private static let otherCommitment = Attack(
        "directory-ticket-other-commitment",
        tries: "a directory answers a thor-proxy with a ticket for another's commitment, an expired and a forged one",
        expects: "it takes none of them, asks again, and is ready with its own", needsDaemons: true
    ) { arena in
        let key = arena.directorySecret
        let consensus = try ForgedConsensus(arena).along(Array(arena.routers.prefix(3)))
        var trials = Trials()
        for lie in 0..<3 {
            let directory = try await HostileDirectory(key: key) { message, count in
                guard case .getTicket(let commitment) = message, count <= Self.lieCount else {
                    return ForgedConsensus.answer(message, consensus, key)
                }
                let now = UInt64(Date().timeIntervalSince1970)
                guard
                    let ticket = try? PathTicket.make(
                        commitment: lie == 0 ? SecureRandom.bytes32() : commitment, salt: SecureRandom.bytes32(),
                        expires: lie == 1 ? now - 1 : now + 86_400,
                        signedBy: lie == 2 ? Ed25519PrivateKey() : key)
                else { return [.close] }
                return [.message(.ticket(ticket.bytes))]
            }
            trials.add(failure: try await Self.isReady(arena, .proxy, directory))
            let asked = directory.count(of: .getTicket)
            trials.expect(asked > Self.lieCount, "lie \(lie): a ticket was taken after \(asked)")
            await directory.stop()
        }
        return trials.outcome("none was taken, each time the proxy's own was")
    }

    /// A directory that is none.
    enum Trouble: String, CaseIterable {
        case silent, mute, garbage, gigabyte, endless

        var tries: String {
            switch self {
            case .silent: "says nothing at all"
            case .mute: "says Hello, and answers nothing"
            case .garbage: "says random bytes"
            case .gigabyte: "announces and sends a gigabyte as one consensus"
            case .endless: "sends a gigabyte of good frames that nobody asked for"
            }
        }

        var greeting: HostileDirectory.Greeting {
            switch self {
            case .silent: .replies([])
            case .mute, .gigabyte, .endless: .hello
            case .garbage: .replies([.bytes(SecureRandom.bytes(100_000))])
            }
        }

        /// Whether a daemon gets as far as asking for something.
        var isAsked: Bool {
            switch self {
            case .silent, .garbage: false
            case .mute, .gigabyte, .endless: true
            }
        }

        /// Whether it sends what is none of a directory's.
        var sends: Bool {
            switch self {
            case .silent, .mute: false
            case .garbage, .gigabyte, .endless: true
            }
        }

        func answer() -> [HostileDirectory.Reply] {
            switch self {
            case .silent, .mute: []
            case .garbage: [.bytes(SecureRandom.bytes(100_000))]
            case .gigabyte: [.endless([0x40, 0, 0, 0, 7], byteCount: 1 << 30)]
            // HeartbeatAcks.
            case .endless: [.endless([0, 0, 0, 16, 5] + [UInt8](repeating: 0, count: 16), byteCount: 1 << 30)]
            }
        }
    }

    /// A daemon that knows no network yet may use so much memory, whatever its directory sends.
    private static let idleCeiling = 96 << 20

    private static func trouble(_ trouble: Trouble) -> Attack {
        Attack(
            "directory-\(trouble.rawValue)",
            tries: "the directory of a starting thor-proxy and thor-router \(trouble.tries)",
            expects: "neither is ready, neither uses more than \(Self.idleCeiling >> 20) MiB, and each tries again or "
                + "says why it ends; with a good one they are ready", needsDaemons: true
        ) { arena in
            var trials = Trials()
            var peak = 0
            // The longest that either waits for an answer is 20 s: both at once.
            try await withThrowingTaskGroup(of: (Trials, Int).self) { group in
                for role in Self.daemons { group.addTask { try await Self.suffers(arena, role, trouble) } }
                for try await (done, used) in group {
                    trials.add(done)
                    peak = max(peak, used)
                }
            }
            let forger = try ForgedConsensus(arena)
            for role in Self.daemons {
                trials.add(failure: try await Self.refusal(arena, role, forger, lieCount: 0) { _, _ in [] })
            }
            return trials.outcome("not ready; \(peak >> 20) MiB at most")
        }
    }

    /// Let a daemon start with such a directory until it has tried again or given up, and for three seconds at least; returns
    /// how it went, and what memory it has used.
    private static func suffers(_ arena: Arena, _ role: DaemonRole, _ trouble: Trouble) async throws -> (Trials, Int) {
        let starter = try arena.needDaemons()
        let directory = try await HostileDirectory(
            key: arena.directorySecret, greeting: trouble.greeting
        ) { _, _ in trouble.answer() }
        let daemon = try Self.start(arena, role, directory.endpoint)
        // One whose first attempt fails may end with a message: that is no crash.
        starter.forget(daemon)
        let watch = ProcessWatch(name: role.executable, processID: daemon.processID)
        let hasReacted = { daemon.end != nil || directory.connectionCount > 1 }
        var peak = 0
        let start = ContinuousClock.now
        try? await Wait.until("it tries again or ends", seconds: 40) {
            peak = max(peak, watch?.residentByteCount ?? 0)
            return hasReacted() && ContinuousClock.now - start >= .seconds(3)
        }
        var trials = Trials()
        let name = role.executable
        trials.expect(!daemon.isReady, "\(name) is ready")
        trials.expect(hasReacted(), "\(name) neither tries again nor ends")
        trials.expect(peak <= Self.idleCeiling, "\(name) used \(peak >> 20) MiB")
        switch daemon.end {
        case nil: break
        case .code(let code) where code != ExitStatus.success.rawValue && code != ExitStatus.software.rawValue:
            let log = (try? String(contentsOfFile: daemon.logPath, encoding: .utf8)) ?? ""
            trials.expect(!log.isEmpty, "\(name) does not say why it ended")
        case .some(let end): trials.add(failure: "\(name) \(end)")
        }
        let askedCount = [DirectoryFrameType.getTicket, .getConsensus, .register].map(directory.count(of:)).reduce(0, +)
        trials.expect(!trouble.isAsked || askedCount > 0, "\(name) asked for nothing")
        trials.expect(!trouble.sends || directory.sentByteCount > 0, "nothing was sent to \(name)")
        await starter.stop(daemon)
        await directory.stop()
        return (trials, peak)
    }
}
