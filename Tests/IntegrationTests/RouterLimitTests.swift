import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink
import TestSupport
import Testing

@testable import OnionRouter

/// What one address may have at an OR: the OR listens on ::1 with the network's defaults, and its directory is elsewhere.
@Suite("Limits of one address at a router", .serialized, .timeLimit(.minutes(2)))
struct RouterLimitTests {
    private static let defaults = NetworkParameters()

    @Test("half-open connections: the limit stays, one more is closed, and another takes its place") func halfOpen()
        async throws
    {
        try await Self.withRouter { port, _ in
            let limit = Self.defaults[.halfOpenPerAddress]
            // At once: each has ten seconds. Which of them is refused is chance, as event loops take them in turns.
            var silent = try await withThrowingTaskGroup(of: (any Channel).self) { group in
                for _ in 0...limit { group.addTask { try await Self.connect(port) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            for _ in 0..<200 where silent.count(where: \.isActive) > limit {
                try await Task.sleep(for: .milliseconds(20))
            }
            silent.removeAll { !$0.isActive }
            #expect(silent.count == limit)
            try await silent.removeLast().close().get()
            var another: (any Channel)?
            for _ in 0..<100 where another == nil {
                let channel = try await Self.connect(port)
                try await Task.sleep(for: .milliseconds(50))
                if channel.isActive { another = channel }
            }
            #expect(another != nil)
            for channel in silent { try? await channel.close().get() }
            try? await another?.close().get()
        }
    }

    @Test("Creates: the bucket is one for all links of an address, whichever loops they are on") func creates()
        async throws
    {
        try await Self.withRouter { port, linkKey in
            let burst = Self.defaults[.createBurst]
            // So many links, on both loops, that no link's own limit is reached.
            var links: [RawLink] = []
            for _ in 0..<4 { links.append(try await RawLink.dial(port, linkKey: linkKey)) }
            let started = ContinuousClock.now
            let sentCount = 2 * burst
            for index in 0..<sentCount {
                links[index % links.count].create(UInt32(0x8000_0001 + index / links.count))
            }
            var reasons: [UInt8] = []
            for _ in 0..<500 {
                reasons = links.flatMap(\.destroyReasons)
                if reasons.count == sentCount { break }
                try await Task.sleep(for: .milliseconds(20))
            }
            let seconds = Double((ContinuousClock.now - started).components.seconds + 1)
            #expect(reasons.count == sentCount)
            // What got a token failed its handshake, being nonsense; the rest was refused.
            let taken = reasons.count { $0 == DestroyReason.handshakeFailed.rawValue }
            #expect(
                taken >= burst && Double(taken) <= Double(burst) + seconds * Double(Self.defaults[.createsPerSecond]))
            #expect(reasons.count { $0 == DestroyReason.resourceLimit.rawValue } == sentCount - taken)
            for link in links { await link.close() }
        }
    }

    @Test("an older list is not believed after a restart either") func floor() async throws {
        let directoryKey = Ed25519PrivateKey()
        let now = UInt64(Date().timeIntervalSince1970)
        func consensus(_ revision: UInt64) throws -> Consensus {
            try Consensus.make(
                revision: revision, validAfter: now, freshUntil: now + 600, validUntil: now + 1200,
                parameters: .testNetwork, routers: [], signedBy: directoryKey)
        }
        var configuration = try Self.configuration(directoryKey: directoryKey.publicKey)
        let file = URL(fileURLWithPath: "\(configuration.stateDirectory)/consensus")
        defer { try? FileManager.default.removeItem(atPath: configuration.stateDirectory) }
        func kept() -> Consensus? {
            (try? Data(contentsOf: file)).flatMap {
                try? Consensus(verifying: $0, directoryKey: directoryKey.publicKey)
            }
        }
        // Without a floor the list is taken, and kept for the next start.
        try await ScriptedDirectory.run(.init(directoryKey: directoryKey, consensus: try consensus(7))) { port in
            configuration.directoryPort = port
            try await Self.run(configuration) { _ in (try? Data(contentsOf: file)) != nil }
        }
        #expect(kept()?.revision == 7)
        // With it, the one before is not.
        try await ScriptedDirectory.run(.init(directoryKey: directoryKey, consensus: try consensus(6))) { port in
            configuration.directoryPort = port
            try await Self.run(configuration) { lines in lines.contains { $0.contains("revision 6 is older than 7") } }
        }
        #expect(kept()?.revision == 7)
    }

    /// Run an OR until `isDone` says so of its log lines, or for twenty seconds.
    private static func run(_ configuration: RouterConfiguration, until isDone: ([String]) -> Bool) async throws {
        let lines = NIOLockedValueBox<[String]>([])
        var logger = Logger(label: "test") { _ in
            EventLog(level: .info) { event in
                lines.withLockedValue { $0.append("\(event.message) \(event.metadata ?? [:])") }
            }
        }
        logger.logLevel = .info
        let router = OnionRouter(configuration: configuration, logger: logger)
        let task = Task { try await router.run() }
        var found = false
        for _ in 0..<1000 where !found {
            found = isDone(lines.withLockedValue { $0 })
            if !found { try await Task.sleep(for: .milliseconds(20)) }
        }
        task.cancel()
        _ = await task.result
        #expect(found)
    }

    // MARK: Support

    private static func configuration(directoryKey: Ed25519PublicKey) throws -> RouterConfiguration {
        let state = NSTemporaryDirectory() + "thor-limits-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: state, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        var configuration = RouterConfiguration(
            directoryHost: "127.0.0.1", directoryPort: 0, directoryKey: directoryKey, identityKey: Ed25519PrivateKey(),
            listen: Endpoint(address: .v6(hi: 0, lo: 1), port: 0), nickname: "Limited", stateDirectory: state)
        configuration.eventLoopCount = 2
        return configuration
    }

    /// Run an OR that has no consensus: its directory accepts connections and says nothing.
    private static func withRouter(_ body: (UInt16, Ed25519PublicKey) async throws -> Void) async throws {
        let directory = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        var configuration = try Self.configuration(directoryKey: Ed25519PrivateKey().publicKey)
        configuration.directoryPort = UInt16(directory.localAddress?.port ?? 0)
        let state = configuration.stateDirectory
        let listening = Fact<Endpoint>()
        let router = OnionRouter(
            configuration: configuration, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            onListening: { listening.set($0) })
        let task = Task { try await router.run() }
        let result: Result<Void, any Error>
        do {
            let port = try await listening.value(or: task).port
            let linkKey = try RouterKeyStore(directory: state).linkKey().publicKey
            try await body(port, linkKey)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        task.cancel()
        _ = await task.result
        try? await directory.close().get()
        try? FileManager.default.removeItem(atPath: state)
        try result.get()
    }

    private static func connect(_ port: UInt16) async throws -> any Channel {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(host: "::1", port: Int(port))
            .get()
    }
}
