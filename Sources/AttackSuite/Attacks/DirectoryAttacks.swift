import DirectoryClient
import Foundation
import HostilePeers
import NIOConcurrencyHelpers
import OnionAddress
import OnionCrypto
import OnionDirectory
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
            case .truncated: "cut off at every 37th byte in turn"
            case .tampered: "with one bit changed"
            }
        }

        func bytes(_ genuine: Consensus, _ forger: ForgedConsensus, _ count: Int) throws -> [UInt8] {
            switch self {
            case .forged: try forger.make(genuine.routers, key: Ed25519PrivateKey()).bytes
            case .expired: try forger.make(genuine.routers, age: 10_801).bytes
            case .future: try forger.make(genuine.routers, ahead: 3600).bytes
            case .truncated: Array(genuine.bytes.prefix(count * 37 % genuine.bytes.count))
            case .tampered: genuine.bytes.enumerated().map { $0 == 40 * count ? $1 ^ 1 : $1 }
            }
        }
    }

    /// So many lies come before the truth; a proxy gives up after three.
    private static let lieCount = 2

    private static func lie(_ lie: Lie) -> Attack {
        Attack(
            "directory-consensus-\(lie.rawValue)",
            tries: "a directory serves a thor-proxy and a thor-router a consensus \(lie.tries), twice, then a good one",
            expects: "both refuse the first two, ask again, and are ready with the third", needsDaemons: true
        ) { arena in
            var trials = Trials()
            let forger = try ForgedConsensus(arena)
            let genuine = try forger.along(Array(arena.routers.prefix(3)))
            let key = arena.directorySecret
            let proxy = try await HostileDirectory(key: key) { message, count in
                guard case .getConsensus(let revision) = message, count <= Self.lieCount else {
                    return ForgedConsensus.answer(message, genuine, key)
                }
                guard revision == 0, let bytes = try? lie.bytes(genuine, forger, count) else { return [.close] }
                return [.message(.consensus(bytes))]
            }
            trials.add(failure: try await Self.isReady(arena, .proxy, proxy, asked: Self.lieCount + 1))
            await proxy.stop()

            let listed = NIOLockedValueBox<SignedDescriptor?>(nil)
            let router = try await HostileDirectory(key: key) { message, count in
                if case .register(let bytes) = message {
                    listed.withLockedValue { $0 = try? SignedDescriptor(verifying: bytes) }
                }
                guard let own = listed.withLockedValue({ $0 }),
                    let genuine = try? forger.make(
                        [ConsensusRouter(descriptor: own, flags: [], weight: 1)] + genuine.routers)
                else { return [.close] }
                guard case .getConsensus(let revision) = message, count <= Self.lieCount else {
                    return ForgedConsensus.answer(message, genuine, key)
                }
                guard revision == 0, let bytes = try? lie.bytes(genuine, forger, count) else { return [.close] }
                return [.message(.consensus(bytes))]
            }
            trials.add(failure: try await Self.isReady(arena, .router(0), router, asked: Self.lieCount + 1))
            await router.stop()
            return trials.outcome("refused \(Self.lieCount) times, ready with the good one")
        }
    }

    /// Start a daemon that has this directory, and wait until it is ready; nil if it has asked for a consensus at least
    /// so often until then.
    private static func isReady(
        _ arena: Arena, _ role: DaemonRole, _ directory: HostileDirectory, asked count: Int, state: String? = nil
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
        let asked = directory.count(of: .getConsensus)
        await starter.stop(daemon)
        return asked >= count ? nil : "\(role.executable) was ready after \(asked) consensuses"
    }

    private static func start(
        _ arena: Arena, _ role: DaemonRole, _ directory: Endpoint, state: String? = nil
    ) throws -> StartedDaemon {
        let starter = try arena.needDaemons()
        let common = ["\(directory)", try starter.writeKey(arena.network.directoryKey)]
        let own = role == .proxy ? [] : [try starter.writeSecret(Ed25519PrivateKey())]
        return try starter.start(role, common + own + ["--listen", "127.0.0.1:0"], state: state)
    }

    /// A state directory whose proxy has seen a consensus of this revision, which is too old to be used.
    private static func stateKnowing(_ revision: UInt64, _ arena: Arena) throws -> String {
        let state = try arena.needDaemons().freshPath("thor-proxy")
        try FileManager.default.createDirectory(
            atPath: state, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let known = try ForgedConsensus(arena).make(arena.routers, revision: revision, age: 20_000)
        try ConsensusStore(path: "\(state)/consensus").save(known)
        return state
    }

    private static let rolledBack = Attack(
        "directory-consensus-rolled-back",
        tries:
            "a directory serves a thor-proxy a consensus that is older than one it has seen, twice, then a newer one",
        expects: "it refuses the older, and is ready with the newer", needsDaemons: true
    ) { arena in
        let forger = try ForgedConsensus(arena)
        let state = try Self.stateKnowing(forger.revision, arena)
        let path = Array(arena.routers.prefix(3))
        let older = try forger.make(try forger.along(path).routers, revision: forger.revision - 1)
        let newer = try forger.make(try forger.along(path).routers, revision: forger.revision + 1)
        let failure = try await Self.serve(arena, older, newer, state: state)
        var trials = Trials()
        trials.add(failure: failure)
        return trials.outcome("the older was refused, the newer taken")
    }

    private static let twoLists = Attack(
        "directory-consensus-two-lists",
        tries: "a directory signs two consensuses of one revision, and shows a thor-proxy the second",
        expects: "it refuses the second, and keeps both as evidence", needsDaemons: true
    ) { arena in
        let forger = try ForgedConsensus(arena)
        let state = try Self.stateKnowing(forger.revision, arena)
        let path = Array(arena.routers.prefix(3))
        let second = try forger.along(path)
        let newer = try forger.make(second.routers, revision: forger.revision + 1)
        var trials = Trials()
        trials.add(failure: try await Self.serve(arena, second, newer, state: state))
        let names = (try? FileManager.default.contentsOfDirectory(atPath: state)) ?? []
        trials.expect(names.count { $0.contains("evidence") } == 2, "there is no evidence in \(names)")
        return trials.outcome("the second was refused, both were kept")
    }

    /// Serve a proxy one consensus twice, and then another; nil if it is ready only with that.
    private static func serve(
        _ arena: Arena, _ bad: Consensus, _ good: Consensus, state: String
    ) async throws -> String? {
        let key = arena.directorySecret
        let directory = try await HostileDirectory(key: key) { message, count in
            guard case .getConsensus = message else { return ForgedConsensus.answer(message, good, key) }
            return [.message(.consensus(count <= Self.lieCount ? bad.bytes : good.bytes))]
        }
        let failure = try await Self.isReady(arena, .proxy, directory, asked: Self.lieCount + 1, state: state)
        await directory.stop()
        return failure
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
            trials.add(failure: try await Self.isReady(arena, .proxy, directory, asked: 1))
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
                + "says why it ends", needsDaemons: true
        ) { arena in
            let starter = try arena.needDaemons()
            let directory = try await HostileDirectory(
                key: arena.directorySecret, greeting: trouble.greeting
            ) { _, _ in trouble.answer() }
            var trials = Trials()
            let daemons = try [DaemonRole.proxy, .router(0)].map { try Self.start(arena, $0, directory.endpoint) }
            // A router whose first registration fails ends with a message: that is no crash.
            daemons.forEach(starter.forget)
            let watches = daemons.map { ProcessWatch(name: "daemon", processID: $0.processID) }
            var peak = 0
            for _ in 0..<60 {
                peak = max(peak, watches.map { $0?.residentByteCount ?? 0 }.max() ?? 0)
                try await Task.sleep(for: .milliseconds(50))
            }
            for (daemon, name) in zip(daemons, ["thor-proxy", "thor-router"]) {
                trials.expect(!daemon.isReady, "\(name) is ready")
                switch daemon.end {
                case nil, .code: trials.add(failure: nil)
                case .some(let end): trials.add(failure: "\(name) \(end)")
                }
            }
            trials.expect(peak <= Self.idleCeiling, "\(peak >> 20) MiB were used")
            for daemon in daemons { await starter.stop(daemon) }
            await directory.stop()
            return trials.outcome("not ready; \(peak >> 20) MiB at most")
        }
    }
}
