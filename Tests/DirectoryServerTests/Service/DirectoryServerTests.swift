import DirectoryClient
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionLink
import TestSupport
import Testing

@testable import DirectoryServer

@Suite("Directory server over TCP", .timeLimit(.minutes(1)))
struct DirectoryServerTests {
    @Test("a router registers, is probed, and is in the consensus and in a ticket's network") func registers()
        async throws
    {
        try await TestDirectory.with { directory in
            let router = try await FakeRouter.start(on: directory.group)
            let connection = try await router.join(directory)
            let consensus = try #require(try await connection.consensus(newerThan: 0))
            #expect(consensus.routers.map(\.identity) == [router.router.fingerprint])
            #expect(consensus.parameters.allows(.allowLoopback))
            try consensus.acceptance(after: nil, now: TestDirectory.unixSeconds)

            // Heartbeats go on while a consensus is waited for.
            async let newer = connection.consensus(newerThan: consensus.revision, wait: .seconds(5))
            for counter in 1...3 as ClosedRange<UInt64> {
                let revision = try await connection.heartbeat(counter: counter, load: RouterLoad())
                #expect(revision >= consensus.revision)
            }
            let second = try await FakeRouter.start(on: directory.group)
            let other = try await second.join(directory)
            let next = try #require(try await newer)
            #expect(next.revision > consensus.revision)

            let commitment = SecureRandom.bytes32()
            let ticket = try await connection.ticket(commitment: commitment)
            try ticket.check(commitment: commitment, now: TestDirectory.unixSeconds)
            let again = try await connection.ticket(commitment: commitment)
            #expect(ticket.salt != again.salt)
            await connection.close()
            await other.close()
            try await router.stop()
            try await second.stop()
        }
    }

    @Test("GetConsensus is answered with nothing newer once its wait is over") func notModified() async throws {
        try await TestDirectory.with(change: { try? $0.parameters.set(.consensusWait, to: 1) }) { directory in
            let connection = try await directory.connect()
            let consensus = try #require(try await connection.consensus(newerThan: 0))
            #expect(try await connection.consensus(newerThan: consensus.revision) == nil)
            #expect(try await connection.consensus(newerThan: 0) == consensus)
            await connection.close()
        }
    }

    @Test("a router that stops beating, and one that is gone, leave the consensus") func leaves() async throws {
        try await TestDirectory.with { directory in
            var routers: [FakeRouter] = []
            var connections: [DirectoryConnection] = []
            for _ in 0..<5 {
                routers.append(try await FakeRouter.start(on: directory.group))
                connections.append(try await routers[routers.count - 1].join(directory))
            }
            let all = routers
            let open = connections
            let names = all.map(\.router.fingerprint)
            // Router 0 never beats, with its connection open.
            let beats = Task {
                for counter in 1... {
                    for connection in open.dropFirst() {
                        _ = try? await connection.heartbeat(counter: UInt64(counter), load: RouterLoad())
                    }
                    try await Task.sleep(for: .milliseconds(50))
                }
            }
            _ = try await directory.waitForRouters(Set(names.dropFirst()))
            // Router 1 dies.
            try await all[1].stop()
            await open[1].close()
            _ = try await directory.waitForRouters(Set(names.dropFirst(2)))
            beats.cancel()
            _ = await beats.result
            for connection in open { await connection.close() }
            for router in all where router.channel.isActive { try await router.stop() }
        }
    }

    @Test("a router that does not prove its keys is refused", arguments: [0, 1, 2, 3])
    func refusals(which: Int) async throws {
        try await TestDirectory.with { directory in
            let (router, code): (FakeRouter, DirectoryErrorCode)
            var credentials: LinkCredentials?
            switch which {
            case 0:  // The listener has another link key.
                router = try await FakeRouter.start(on: directory.group, linkKey: Ed25519PrivateKey())
                (credentials, code) = (router.credentials, .handshakeFailed)
            case 1:  // It has another onion key.
                router = try await FakeRouter.start(on: directory.group, onionKey: X25519PrivateKey())
                (credentials, code) = (router.credentials, .handshakeFailed)
            case 2:  // The connection shows another link key.
                router = try await FakeRouter.start(on: directory.group)
                (credentials, code) = (try LinkCredentials(linkKey: Ed25519PrivateKey()), .wrongLinkKey)
            default:  // Or none.
                router = try await FakeRouter.start(on: directory.group)
                (credentials, code) = (nil, .wrongLinkKey)
            }
            let connection = try await directory.connect(credentials)
            let refused = await #expect(throws: DirectoryConnectionError.self) {
                try await connection.register(try router.descriptor())
            }
            guard case .refused(code, _) = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
            _ = try await directory.waitForRouters([])
            try await router.stop()
        }
    }

    @Test("a router that nobody can reach is refused") func unreachable() async throws {
        try await TestDirectory.with { directory in
            var started = try await FakeRouter.start(on: directory.group)
            try await started.stop()
            let nowhere = try ReservedPort()
            started.router.address.port = nowhere.port
            let router = started
            let refused = await #expect(throws: DirectoryConnectionError.self) { try await router.join(directory) }
            guard case .refused(.unreachable, _) = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
        }
    }

    @Test("only routers of the allow file register; the file is read again, and a bad line changes nothing")
    func allowFile() async throws {
        let state = try TemporaryDirectory()
        let path = state.file("routers")
        let group = MultiThreadedEventLoopGroup.singleton
        let (first, second) = (try await FakeRouter.start(on: group), try await FakeRouter.start(on: group))
        try "\(first.router.fingerprint.base64URL) first\n".write(toFile: path, atomically: true, encoding: .utf8)
        let (logs, log) = AsyncStream.makeStream(of: String.self)
        try await TestDirectory.with(state: state, routers: .file(path), logged: { log.yield($1) }) { directory in
            let connection = try await first.join(directory)
            let refused = await #expect(throws: DirectoryConnectionError.self) { try await second.join(directory) }
            guard case .refused(.notAllowed, _) = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
            try "nonsense\n".write(toFile: path, atomically: true, encoding: .utf8)
            for await message in logs where message.contains("old list stays") { break }
            _ = try await connection.heartbeat(counter: 1, load: RouterLoad())
            try "\(second.router.fingerprint.base64URL)\n".write(toFile: path, atomically: true, encoding: .utf8)
            try await connection.closeFuture.get()
            let told = await #expect(throws: DirectoryConnectionError.self) {
                try await connection.heartbeat(counter: 2, load: RouterLoad())
            }
            #expect(told.flatMap(Self.code) == .notAllowed)
            let other = try await second.join(directory)
            await other.close()
        }
        try await first.stop()
        try await second.stop()
    }

    @Test("a server that is started again still lists its routers, with a higher revision") func restart() async throws
    {
        let state = try TemporaryDirectory()
        let key = Ed25519PrivateKey()
        let router = try await FakeRouter.start(on: MultiThreadedEventLoopGroup.singleton)
        let before = try await TestDirectory.with(key: key, state: state) { directory in
            let connection = try await router.join(directory)
            return try #require(try await connection.consensus(newerThan: 0))
        }
        let after = try await TestDirectory.with(key: key, state: state) { directory in
            let connection = try await directory.connect()
            return try #require(try await connection.consensus(newerThan: before.revision))
        }
        #expect(after.routers == before.routers)
        #expect(after.revision > before.revision)
        try await router.stop()
    }

    @Test("a newer registration of a router closes the older connection, and says so") func superseded() async throws {
        try await TestDirectory.with { directory in
            let router = try await FakeRouter.start(on: directory.group)
            let old = try await router.join(directory)
            let waiting = Task { try await old.consensus(newerThan: .max) }
            let new = try await router.join(directory, sequence: 2)
            // Whatever was asked, and whatever is asked later.
            let refused = await #expect(throws: DirectoryConnectionError.self) { try await waiting.value }
            #expect(refused.flatMap(Self.code) == .superseded)
            try await old.closeFuture.get()
            let later = await #expect(throws: DirectoryConnectionError.self) {
                try await old.heartbeat(counter: 1, load: RouterLoad())
            }
            #expect(later.flatMap(Self.code) == .superseded)
            _ = try await new.heartbeat(counter: 1, load: RouterLoad())
            await new.close()
            try await router.stop()
        }
    }

    @Test("a server that holds another key is not believed") func wrongKey() async throws {
        try await TestDirectory.with { directory in
            _ = await #expect(throws: DirectoryConnectionError.wrongDirectoryKey) {
                try await directory.connect(directoryKey: Ed25519PrivateKey().publicKey)
            }
        }
    }

    @Test("nobody there is told apart from somebody else there") func notADirectory() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let other = try await FakeRouter.start(on: group)
        let dialler = try DirectoryDialler(directoryKey: Ed25519PrivateKey().publicKey, credentials: nil)
        let wrong = await #expect(throws: DirectoryConnectionError.self) {
            try await dialler.connect(host: "127.0.0.1", port: other.router.address.port, on: group.any())
        }
        guard case .notADirectory = wrong else { throw TestFailure("\(String(describing: wrong))") }
        try await other.stop()
        let nowhere = try ReservedPort()
        let gone = await #expect(throws: DirectoryConnectionError.self) {
            try await dialler.connect(host: "127.0.0.1", port: nowhere.port, on: group.any())
        }
        guard case .unreachable = gone else { throw TestFailure("\(String(describing: gone))") }
    }

    @Test("garbage ends its own connection and nothing else") func garbage() async throws {
        try await TestDirectory.with { directory in
            // Before TLS, and after it.
            let plain = try await ClientBootstrap(group: directory.group)
                .connect(host: "127.0.0.1", port: Int(directory.port)).get()
            try await plain.writeAndFlush(ByteBuffer(repeating: 0x99, count: 5000)).get()
            try await plain.closeFuture.get()
            let tls = try LinkTLS(credentials: nil, protocol: .directory)
            for bytes in [[0, 0, 0, 0, 99], [0xff, 0xff, 0xff, 0xff, 2], [0, 0, 0, 1, 2, 0]] as [[UInt8]] {
                let channel = try await ClientBootstrap(group: directory.group)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: nil)
                        }
                    }
                    .connect(host: "127.0.0.1", port: Int(directory.port)).get()
                channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
                try await channel.closeFuture.get()
            }
            let connection = try await directory.connect()
            #expect(try await connection.consensus(newerThan: 0) != nil)
            await connection.close()
        }
    }

    @Test("a second GetConsensus ends the connection, and the Error is its last frame") func twoConsensuses()
        async throws
    {
        try await TestDirectory.with { directory in
            let answers = try await directory.answers(
                to: Array(repeating: .getConsensus(haveRevision: .max), count: 2))
            #expect(answers.first?.frameType == .hello)
            #expect(answers.dropFirst() == [.error(.unexpectedMessage, text: "one GetConsensus at a time")])
        }
    }

    @Test("strangers that ask for the list and do not read keep no OR from it, and no other stranger")
    func nonReaders() async throws {
        let state = try TemporaryDirectory()
        let routers = (0..<600).map { _ in TestRouter() }
        let stored = try routers.map {
            StoredRouter(descriptor: try $0.descriptor(), firstSeen: 1, lastSeen: 2, isListed: true)
        }
        try RegistryStore(path: state.file("registry.sqlite")).save(stored, revision: 1)
        try await TestDirectory.with(
            state: state,
            change: {
                // So long they stay in the list.
                $0.registryLimits.heartbeatInterval = .seconds(600)
                $0.connectionLimits.requestBurst = 1000
                $0.connectionLimits.queuedAnswerByteCount = 1_000_000
            }
        ) { directory in
            let credentials = try LinkCredentials(linkKey: routers[0].linkKey)
            let isOver = NIOLockedValueBox(false)
            try await withThrowingTaskGroup { group in
                group.addTask {
                    let strangers = Array(repeating: DirectoryMessage.getConsensus(haveRevision: 0), count: 40)
                    try await withThrowingDiscardingTaskGroup { group in
                        for _ in 0..<12 { group.addTask { try await directory.sayOnly(strangers) } }
                    }
                    isOver.withLockedValue { $0 = true }
                }
                group.addTask {
                    while !isOver.withLockedValue({ $0 }) {
                        for reader in [credentials, nil] {
                            let connection = try await directory.connect(reader)
                            #expect(try await connection.consensus(newerThan: 0)?.routers.count == routers.count)
                            await connection.close()
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test("a newcomer that goes while it is probed leaves its place at once") func goneWhileProbed() async throws {
        let probing = FirstHangs()
        try await TestDirectory.with(change: { $0.registryLimits.newcomersPerAddress = 1 }, probing: probing) {
            directory in
            func code() async throws -> DirectoryErrorCode? {
                let router = TestRouter(address: Endpoint(address: .v4(0x7f00_0001), port: 9001))
                let connection = try await directory.connect(try LinkCredentials(linkKey: router.linkKey))
                let descriptor = try router.descriptor(published: TestDirectory.unixSeconds)
                return await #expect(throws: DirectoryConnectionError.self) {
                    try await connection.register(descriptor)
                }
                .flatMap(Self.code)
            }
            let router = TestRouter(address: Endpoint(address: .v4(0x7f00_0001), port: 9001))
            let first = try await directory.connect(try LinkCredentials(linkKey: router.linkKey))
            let descriptor = try router.descriptor(published: TestDirectory.unixSeconds)
            let registration = Task { try await first.register(descriptor) }
            for await _ in probing.started { break }
            #expect(try await code() == .busy)
            await first.close()
            _ = await registration.result
            // The server hears of it soon, and not behind the probe, which does not end.
            var next: DirectoryErrorCode?
            repeat { next = try await code() } while next == .busy
            #expect(next == .unreachable)
        }
    }

    /// Does not end the first probe, and finds nobody with the others.
    private struct FirstHangs: RouterProbing {
        let started: AsyncStream<Void>
        private let starting: AsyncStream<Void>.Continuation
        private let hasStarted = NIOLockedValueBox(false)

        init() { (self.started, self.starting) = AsyncStream.makeStream() }

        func probe(_ descriptor: RouterDescriptor) async -> ProbeOutcome {
            let isFirst = self.hasStarted.withLockedValue { hasStarted in
                defer { hasStarted = true }
                return !hasStarted
            }
            if isFirst {
                self.starting.yield()
                try? await Task.sleep(for: .seconds(3600))
            }
            return .unreachable
        }
    }

    @Test("a channel that is connected already serves a client as well") func overChannel() async throws {
        try await TestDirectory.with { directory in
            let channel = try await ClientBootstrap(group: directory.group)
                .connect(host: "127.0.0.1", port: Int(directory.port)).get()
            let connection = try await DirectoryDialler(
                directoryKey: directory.directoryKey.publicKey, credentials: nil
            ).open(over: channel)
            #expect(try await connection.consensus(newerThan: 0) != nil)
            await connection.close()
            #expect(!channel.isActive)
        }
    }

    @Test("who has no place here cannot fill the log; a friend's mistake is in it once")
    func refusalsInLog() async throws {
        let (stranger, friend) = (TestRouter(), TestRouter())
        var elsewhere = friend
        elsewhere.address = Endpoint(address: .v4(0x0A00_0001), port: 9001)
        let state = try TemporaryDirectory()
        let path = state.file("routers")
        try "\(friend.fingerprint.base64URL)\n".write(toFile: path, atomically: true, encoding: .utf8)
        let levels = NIOLockedValueBox<[Logger.Level]>([])
        let refused = [
            (stranger, try LinkCredentials(linkKey: stranger.linkKey)),
            (stranger, try LinkCredentials(linkKey: stranger.linkKey)), (friend, nil),
            (elsewhere, try LinkCredentials(linkKey: friend.linkKey)),
            (elsewhere, try LinkCredentials(linkKey: friend.linkKey)),
        ]
        try await TestDirectory.with(
            state: state, routers: .file(path),
            logged: { level, message in
                if message == "registration refused" { levels.withLockedValue { $0.append(level) } }
            }
        ) { directory in
            for (router, credentials) in refused {
                let connection = try await directory.connect(credentials)
                let descriptor = try router.descriptor(published: TestDirectory.unixSeconds)
                _ = await #expect(throws: DirectoryConnectionError.self) { try await connection.register(descriptor) }
            }
        }
        #expect(levels.withLockedValue { $0 } == [.info, .debug, .debug, .info, .debug])
    }

    @Test("one address may have so many connections: the oldest makes way for the next, and nobody is shut out")
    func connectionLimit() async throws {
        try await TestDirectory.with(change: { $0.connectionLimits.perAddress = 2 }) { directory in
            let (first, second) = (try await directory.connect(), try await directory.connect())
            let third = try await directory.connect()
            try await first.closeFuture.get()
            for connection in [second, third] {
                _ = try await connection.consensus(newerThan: 0)
                await connection.close()
            }
        }
    }

    @Test("a burst of requests passes, and one more ends the connection") func requestLimit() async throws {
        try await TestDirectory.with(change: {
            $0.connectionLimits.requestsPerSecond = 0
            $0.connectionLimits.requestBurst = 3
        }) { directory in
            let connection = try await directory.connect()
            for _ in 0..<3 { _ = try await connection.ticket(commitment: .zero) }
            let refused = await #expect(throws: DirectoryConnectionError.self) {
                try await connection.ticket(commitment: .zero)
            }
            guard case .refused(.busy, _) = refused else { throw TestFailure("\(String(describing: refused))") }
        }
    }

    @Test("requests of one address come from one bucket, over however many connections") func addressRequests()
        async throws
    {
        try await TestDirectory.with(change: {
            $0.connectionLimits.addressRequestsPerSecond = 0
            $0.connectionLimits.addressRequestBurst = 3
        }) { directory in
            let first = try await directory.connect()
            let second = try await directory.connect()
            for connection in [first, second, first] { _ = try await connection.ticket(commitment: .zero) }
            let refused = await #expect(throws: DirectoryConnectionError.self) {
                try await second.ticket(commitment: .zero)
            }
            guard case .refused(.busy, _) = refused else { throw TestFailure("\(String(describing: refused))") }
            await first.close()
        }
    }

    @Test("registrations of one address that cost a probe come at a rate, whichever router they are for")
    func registrationRate() async throws {
        let nowhere = try ReservedPort()
        try await TestDirectory.with(change: {
            $0.connectionLimits.registrationsPerSecond = 0
            $0.connectionLimits.registrationBurst = 2
        }) { directory in
            var codes: [DirectoryErrorCode?] = []
            // Not on the public Internet, and not loopback: refused without a probe.
            for address in [0x0A00_0001, 0x0A00_0001, 0x7f00_0001, 0x7f00_0001, 0x7f00_0001] as [UInt32] {
                var router = TestRouter()
                router.address = Endpoint(address: .v4(address), port: nowhere.port)
                let descriptor = try router.descriptor(published: TestDirectory.unixSeconds)
                let connection = try await directory.connect(try LinkCredentials(linkKey: router.linkKey))
                let refused = await #expect(throws: DirectoryConnectionError.self) {
                    try await connection.register(descriptor)
                }
                codes.append(refused.flatMap(Self.code))
            }
            #expect(codes == [.addressNotPublic, .addressNotPublic, .unreachable, .unreachable, .busy])
        }
    }

    @Test(
        "an OR at whose address strangers use up everything stays, comes back and registers anew; strangers get no answer"
    )
    func strangersAtAnAddress() async throws {
        try await TestDirectory.with(change: {
            $0.connectionLimits.perAddress = 2
            $0.connectionLimits.addressRequestsPerSecond = 0
            $0.connectionLimits.addressRequestBurst = 2
            $0.connectionLimits.registrationsPerSecond = 0
            $0.connectionLimits.registrationBurst = 1
        }) { directory in
            let router = try await FakeRouter.start(on: directory.group)
            let first = try await router.join(directory)
            let strangers = [try await directory.connect(), try await directory.connect()]
            for stranger in strangers { _ = try await stranger.ticket(commitment: .zero) }
            func strangersAreRefused() async throws {
                let newcomer = try LinkCredentials(linkKey: Ed25519PrivateKey())
                for credentials in [nil, newcomer] {
                    let stranger = try await directory.connect(credentials)
                    let busy = await #expect(throws: DirectoryConnectionError.self) {
                        try await stranger.ticket(commitment: .zero)
                    }
                    #expect(busy.flatMap(Self.code) == .busy)
                }
            }
            try await strangersAreRefused()
            // The first of them has made way.
            try await strangers[0].closeFuture.get()
            for counter in 1...5 as ClosedRange<UInt64> {
                _ = try await first.heartbeat(counter: counter, load: RouterLoad())
            }
            await first.close()
            for sequence in 2...3 as ClosedRange<UInt64> {
                let again = try await router.join(directory, sequence: sequence)
                let consensus = try #require(try await again.consensus(newerThan: 0))
                #expect(consensus.routers.map(\.identity) == [router.router.fingerprint])
                _ = try await again.heartbeat(counter: 1, load: RouterLoad())
                try await strangersAreRefused()
                await again.close()
            }
            try await router.stop()
        }
    }

    private static func code(_ error: DirectoryConnectionError) -> DirectoryErrorCode? {
        if case .refused(let code, _) = error { code } else { nil }
    }

    @Test("new connections of one address come at a rate") func connectRate() async throws {
        try await TestDirectory.with(change: {
            $0.connectionLimits.connectsPerSecond = 0
            $0.connectionLimits.connectBurst = 2
        }) { directory in
            for _ in 0..<2 { try await directory.connect().close() }
            _ = await #expect(throws: DirectoryConnectionError.self) { try await directory.connect() }
        }
    }

    @Test("silent connections of one address are so many and no more") func halfOpen() async throws {
        try await TestDirectory.with(change: { $0.connectionLimits.halfOpenPerAddress = 2 }) { directory in
            let group = MultiThreadedEventLoopGroup.singleton
            func connect() async throws -> any Channel {
                try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: Int(directory.port)).get()
            }
            let silent = [try await connect(), try await connect(), try await connect()]
            // One is past the limit: whichever the server came to first makes way, without a word.
            for _ in 0..<500 where silent.allSatisfy(\.isActive) { try await Task.sleep(for: .milliseconds(20)) }
            #expect(silent.count(where: \.isActive) == 2)
            // So nobody keeps the others out by saying nothing.
            let connection = try await directory.connect()
            _ = try await connection.consensus(newerThan: 0)
            for _ in 0..<500 where silent.count(where: \.isActive) > 1 { try await Task.sleep(for: .milliseconds(20)) }
            #expect(silent.count(where: \.isActive) == 1)
            await connection.close()
            for channel in silent { try? await channel.close().get() }
        }
    }
}
