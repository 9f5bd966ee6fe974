import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import TestSupport
import Testing

@testable import DirectoryClient
@testable import OnionLink
@testable import OnionRouter

@Suite("A router's standing with the directory", .timeLimit(.minutes(1)))
struct RouterDirectoryTests {
    @Test("one that cannot reach the directory at first does not try again")
    func unreachable() async throws {
        let play = Play()
        play.state.withLockedValue { $0.isUnreachable = true }
        await #expect(throws: DirectoryConnectionError.closed) { try await play.router().run() }
        #expect(play.state.withLockedValue { $0.sleepCount } == 0)
    }

    @Test("one that is told to end before it has registered has not failed")
    func cancelled() async throws {
        let play = Play()
        play.state.withLockedValue { $0.isSilent = true }
        await #expect(throws: CancellationError.self) { try await play.run { $0.isConnecting }.get() }
    }

    @Test("a list that it kept is taken up while it is valid", arguments: [true, false])
    func kept(isValid: Bool) async throws {
        let state = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: state) }
        let now = Play.start / 1000
        try ConsensusStore(path: "\(state)/consensus").save(
            Consensus.make(
                revision: 3, validAfter: now - 3600, freshUntil: now - 1800,
                validUntil: isValid ? now + 1800 : now - 900,
                parameters: NetworkParameters(), routers: [], signedBy: ListedRouter.directoryKey))
        let play = Play(stateDirectory: state)
        play.state.withLockedValue { $0.isUnreachable = true }
        await #expect(throws: DirectoryConnectionError.closed) { try await play.router().run() }
        #expect(play.shared.view.revision == (isValid ? 3 : 0))
    }

    @Test("its numbers go up when the clock goes back, too")
    func clockBack() async throws {
        let play = Play()
        play.state.withLockedValue { state in
            state.sleep = { state in
                if state.isRefused { state.now -= 5000 }
                return state.isRefused
            }
            // A list for nobody: the directory ends the first connection.
            state.answers = [.max: (1, 1)]
        }
        await play.run { $0.registered.count == 2 }
        let sequences = play.state.withLockedValue { $0.registered.map(\.descriptor.sequence) }
        #expect(sequences == [Play.start, Play.start + 1])
    }

    @Test("one whose place another with its key has taken ends, and says why")
    func superseded() async throws {
        let play = Play()
        play.state.withLockedValue { state in
            state.answers = [.max: (1, 1)]
            state.end = .superseded
        }
        await #expect(throws: DirectoryConnectionError.refused(.superseded, text: "")) { try await play.router().run() }
        #expect(play.state.withLockedValue { $0.registered.count } == 1)
    }

    @Test("a new onion key is announced at once, in a registration of its own")
    func rotation() async throws {
        let play = Play()
        // The first wait is as long as a key lives; at the second the test is over.
        play.state.withLockedValue { state in
            state.sleep = { state in
                if state.sleepCount == 1 { state.now += 604_800_000 }
                return state.sleepCount == 1
            }
        }
        await play.run { $0.sleepCount == 2 }
        let registered = play.state.withLockedValue { $0.registered.map(\.descriptor) }
        #expect(Set(registered.map(\.onionKey)).count == 2)
        #expect(registered.map(\.sequence) == [Play.start, Play.start + 604_800_000])
        // There is no disk here.
        #expect(play.state.withLockedValue { $0.lines.count { $0.hasPrefix("onion key not saved") } } == 1)
    }

    @Test("it is ready when a list names it that is as new as its registration; its numbers are above every listed one")
    func ready() async throws {
        let play = Play()
        let ahead = Play.start + 1_000_000_000
        play.state.withLockedValue { state in
            // Nobody waits to try again, and heartbeats are not due yet.
            state.sleep = { $0.isRefused }
            state.answers = [0: (4, ahead), 4: (5, 0), 5: (6, ahead), 6: (7, ahead)]
        }
        await play.run { $0.registered.count == 2 }
        let state = play.state.withLockedValue { $0 }
        #expect(state.registered.map(\.descriptor.sequence) == [Play.start, ahead + 1])
        // Asked for the one after 6, it has that; and once is enough.
        #expect(state.readyCountWhenAsked == [0: 0, 4: 0, 5: 0, 6: 1, 7: 1] && state.readyCount == 1)
    }

    @Test("it says when it goes out of the list and comes back, and why the directory is lost")
    func standing() async throws {
        let play = Play()
        play.state.withLockedValue { state in
            state.sleep = { $0.isRefused }
            state.answers = [0: (5, Play.start), 5: (6, 0), 6: (7, 0), 7: (8, Play.start), 8: (9, Play.start)]
            state.end = .notAllowed
        }
        await play.run { $0.standings.count == 5 }
        let lost = DirectoryConnectionError.refused(.notAllowed, text: "")
        #expect(
            play.state.withLockedValue { $0.standings }
                == [.listed, .notListed, .listed, .disconnected(why: "\(lost)"), .listed])
        #expect(play.state.withLockedValue { $0.lines.count { $0 == "not in the consensus any more" } } == 1)
    }

    @Test("one that comes back unchanged is listed at once: the directory then makes no new list")
    func unchanged() async throws {
        let play = Play()
        play.state.withLockedValue { state in
            state.sleep = { $0.isRefused }
            state.answers = [0: (5, Play.start)]
            state.end = .notAllowed
        }
        await play.run { $0.standings.count == 3 }
        let lost = DirectoryConnectionError.refused(.notAllowed, text: "")
        #expect(
            play.state.withLockedValue { $0.standings } == [.listed, .disconnected(why: "\(lost)"), .listed])
        #expect(play.state.withLockedValue { $0.readyCount } == 1)
    }

    @Test("each registration names the addresses that there are then")
    func addresses() async throws {
        let play = Play()
        let (old, new) = (ListedRouter.heron.endpoint, Endpoint(address: .v4(0x0808_0808), port: 9001))
        play.state.withLockedValue { state in
            state.sleep = { state in
                if state.isRefused { state.addresses = [new] }
                return state.isRefused
            }
            state.answers = [.max: (1, 1)]
        }
        await play.run { $0.registered.count == 2 }
        #expect(play.state.withLockedValue { $0.registered.map(\.descriptor.addresses) } == [[old], [new]])
    }

    @Test("one whose address has gone registers anew at once, though the directory is not lost")
    func moved() async throws {
        let play = Play()
        let (old, new) = (ListedRouter.heron.endpoint, Endpoint(address: .v4(0x0808_0808), port: 9001))
        play.state.withLockedValue { state in
            state.sleep = { state in
                if state.sleepCount == 2 { state.addresses = [new] }
                return state.sleepCount <= 2
            }
        }
        await play.run { $0.sleepCount == 3 }
        let state = play.state.withLockedValue { $0 }
        #expect(state.registered.map(\.descriptor.addresses) == [[old], [new]])
        #expect(state.registeredBefore == [[], [old], [old], [old]])
        #expect(state.standings.isEmpty)
    }

    @Test("an address at which the directory did not reach it is no reason to stay there")
    func movedInVain() async throws {
        let play = Play()
        let (old, new) = (ListedRouter.heron.endpoint, Endpoint(address: .v4(0x0808_0808), port: 9001))
        play.state.withLockedValue { state in
            state.unreachable = [new]
            state.sleep = { state in
                state.addresses = state.sleepCount == 1 ? [new] : [old]
                return state.sleepCount <= 2
            }
        }
        await play.run { $0.registered.count == 3 }
        let state = play.state.withLockedValue { $0 }
        #expect(state.registered.map(\.descriptor.addresses) == [[old], [new], [old]])
        // What it was asked about: never the address in vain.
        #expect(state.registeredBefore.dropFirst().allSatisfy { $0 == [old] })
    }

    @Test("one that no address leads to any more says so, and tries again")
    func noAddress() async throws {
        let play = Play()
        play.state.withLockedValue { state in
            state.sleep = { state in
                state.addressFailure = state.sleepCount == 1 ? RouterError.noPublicAddress : nil
                return state.sleepCount <= 2
            }
        }
        await play.run { $0.sleepCount == 3 }
        #expect(
            play.state.withLockedValue { $0.standings } == [.disconnected(why: "\(RouterError.noPublicAddress)")])
        #expect(play.state.withLockedValue { $0.registered.count } == 2)
    }

    @Test("of its circuits the directory hears a number that no one of them changes")
    func load() {
        let told = [0, 1, 9, 10, 11, 20, 21].map { RouterDirectory.load(circuits: $0).circuitCount }
        #expect(told == [0, 10, 10, 10, 20, 20, 30])
    }

    @Test("one whose system does not say what addresses there are stays with the directory")
    func unknownAddresses() async throws {
        let play = Play()
        play.state.withLockedValue { state in
            state.sleep = { state in
                state.addressFailure = ChannelError.eof
                return state.sleepCount == 1
            }
        }
        await play.run { $0.sleepCount == 2 }
        #expect(play.state.withLockedValue { $0.standings.isEmpty && $0.registered.count == 1 })
    }
}

/// A router's standing, a clock that goes when somebody waits, and a directory that does as it is told.
private final class Play: Sendable {
    struct State: Sendable {
        /// Milliseconds of the clock.
        var now = Play.start
        var isUnreachable = false
        /// Whether connecting comes to nothing, and takes for ever.
        var isSilent = false
        var isConnecting = false
        /// Of the log.
        var lines: [String] = []
        /// Whether the directory has ended the connection.
        var isRefused = false
        var sleepCount = 0
        var readyCount = 0
        var standings: [RouterStanding] = []
        /// Where it says that others reach it.
        var addresses = [ListedRouter.heron.endpoint]
        /// What keeps it from saying so.
        var addressFailure: (any Error)?
        /// Where the directory does not reach it.
        var unreachable: [Endpoint] = []
        /// What it had registered whenever it was asked.
        var registeredBefore: [[Endpoint]] = []
        var readyCountWhenAsked: [UInt64: Int] = [:]
        var registered: [SignedDescriptor] = []
        /// Revision and this router's number in the list that follows a revision, 0 if it is not listed; without one the
        /// directory ends the connection once, where lists are given at all.
        var answers: [UInt64: (revision: UInt64, sequence: UInt64)] = [:]
        /// What it says then.
        var end = DirectoryErrorCode.shuttingDown
        /// Whether a wait ends at once; others do not end.
        var sleep: @Sendable (inout State) -> Bool = { _ in false }
        var isOver: @Sendable (State) -> Bool = { _ in false }
    }

    static let start: UInt64 = 1_790_000_100_000
    private static let linkKey = Ed25519PrivateKey().publicKey

    let state = NIOLockedValueBox(State())
    let shared: RouterShared
    private let stateDirectory: String
    private let over = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: Void.self)

    /// Run the router until `isOver` says so; returns how it then ended.
    @discardableResult
    func run(until isOver: @escaping @Sendable (State) -> Bool) async -> Result<Void, any Error> {
        self.state.withLockedValue { $0.isOver = isOver }
        let router = self.router()
        let task = Task { try await router.run() }
        try? await self.over.futureResult.get()
        task.cancel()
        return await task.result
    }

    /// Change the state, and see whether that was all.
    private func change<T>(_ body: (inout State) -> T) -> T {
        let (result, isOver) = self.state.withLockedValue { (body(&$0), $0.isOver($0)) }
        if isOver { self.over.succeed() }
        return result
    }

    deinit { self.over.succeed() }

    /// - Parameter stateDirectory: if it is not there nothing can be kept.
    init(stateDirectory: String = "/nonexistent") {
        self.stateDirectory = stateDirectory
        let heron = ListedRouter.heron
        let view = NetworkView(consensus: nil)
        let metrics = RouterMetrics()
        self.shared = RouterShared(
            identity: heron.identity.publicKey, group: MultiThreadedEventLoopGroup.singleton,
            handshakes: HandshakeService(
                identity: heron.identity.publicKey, onionKeys: [], limits: view.handshakeLimits, executor: { $0() }),
            connector: ExitConnector(
                resolver: NoNames(), gate: ExitGate(policy: .standard, isOwn: { _ in false }), directory: "192.0.2.1",
                directoryPort: 9030),
            dial: { _, _, loop, _ in loop.makeFailedFuture(ChannelError.ioOnClosedChannel) },
            admission: RouterAdmission(view: view, directory: nil, descriptorCount: 1024, metrics: metrics),
            metrics: metrics, view: view)
    }

    func router() -> RouterDirectory {
        let heron = ListedRouter.heron
        return RouterDirectory(
            configuration: RouterConfiguration(
                directoryHost: "192.0.2.1", directoryPort: 9030, directoryKey: ListedRouter.directoryKey.publicKey,
                identityKey: heron.identity, listen: heron.endpoint, nickname: "heron",
                stateDirectory: self.stateDirectory),
            linkKey: heron.linkKey, shared: self.shared,
            keys: KeptOnionKeys(
                OnionKeyRing(current: .init(secret: TestRouter.onionKey, made: Self.start / 1000), previous: nil),
                store: RouterKeyStore(directory: "/nonexistent")),
            addresses: { registered in
                try self.state.withLockedValue { state in
                    state.registeredBefore.append(registered)
                    if let failure = state.addressFailure { throw failure }
                    return state.addresses
                }
            },
            outside: TimeAndChance(
                now: { .now() }, unixMilliseconds: { self.state.withLockedValue { $0.now } },
                sleep: { _ in
                    let isShort = self.change { state in
                        state.sleepCount += 1
                        return state.sleep(&state)
                    }
                    if !isShort { try await Task.sleep(for: .seconds(3600)) }
                }, randomBytes: SecureRandom.bytes32),
            logger: Logger(label: "test") { _ in
                EventLog(level: .info) { event in self.change { $0.lines.append("\(event.message)") } }
            },
            connect: { try await self.connect() },
            onReady: { self.change { $0.readyCount += 1 } },
            onStanding: { standing in self.change { $0.standings.append(standing) } })
    }

    private func connect() async throws -> DirectoryConnection {
        guard !self.state.withLockedValue({ $0.isUnreachable }) else { throw DirectoryConnectionError.closed }
        if self.change({ state in
            state.isConnecting = true
            return state.isSilent
        }) {
            try? await Task.sleep(for: .seconds(3600))
            throw DirectoryConnectionError.closed
        }
        let channel = NIOAsyncTestingChannel()
        let opened = channel.eventLoop.makePromise(of: Void.self)
        try await channel.eventLoop.submit {
            try channel.pipeline.syncOperations.addHandlers([
                Directory { self.answer($0) },
                DirectoryClientHandler(
                    peer: PeerKey(publicKey: Self.linkKey), directoryKey: ListedRouter.directoryKey.publicKey,
                    opened: opened, timeLimit: .hours(1), unixSeconds: { Self.start / 1000 }),
            ])
        }.get()
        try await channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 9030)).get()
        let hello = try DirectoryHello.make(
            linkKey: Self.linkKey, expires: Self.start / 1000 + 1, signedBy: ListedRouter.directoryKey)
        var frame = ByteBuffer()
        try DirectoryMessage.hello(hello.bytes).write(to: &frame)
        try await channel.writeInbound(frame)
        try await opened.futureResult.get()
        return DirectoryConnection(channel: channel, directoryKey: ListedRouter.directoryKey.publicKey)
    }

    private func answer(_ message: DirectoryMessage) -> DirectoryMessage? {
        switch message {
        case .register(let bytes):
            guard let descriptor = try? SignedDescriptor(verifying: bytes) else { return nil }
            let isReached = self.change { state in
                state.registered.append(descriptor)
                state.isRefused = false
                return state.unreachable.isEmpty || state.unreachable != descriptor.descriptor.addresses
            }
            guard isReached else { return .error(.unreachable, text: "") }
            return .registered(sequence: descriptor.descriptor.sequence, revision: 5)
        case .heartbeat(let counter, _): return .heartbeatAck(counter: counter, revision: 5)
        case .getConsensus(let have):
            let (answer, end) = self.change { state -> ((revision: UInt64, sequence: UInt64)?, DirectoryErrorCode?) in
                if state.registered.count == 1 { state.readyCountWhenAsked[have] = state.readyCount }
                let answer = state.answers[have]
                state.isRefused = answer == nil && !state.answers.isEmpty && state.registered.count == 1
                return (answer, state.isRefused ? state.end : nil)
            }
            if let end { return .error(end, text: "") }
            guard let answer,
                let consensus = try? Consensus.make(
                    revision: answer.revision, validAfter: 1_790_000_000, freshUntil: 1_790_003_600,
                    validUntil: 1_790_010_800, parameters: NetworkParameters(),
                    routers: answer.sequence == 0 ? [] : [ListedRouter.heron.entry(sequence: answer.sequence)],
                    signedBy: ListedRouter.directoryKey)
            else { return nil }
            return .consensus(consensus.bytes)
        default: return nil
        }
    }

    /// The far end of a connection, as its last handler.
    private final class Directory: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        private var decoder = DirectoryFrameDecoder(receiver: .directory)
        private let answer: (DirectoryMessage) -> DirectoryMessage?

        init(_ answer: @escaping (DirectoryMessage) -> DirectoryMessage?) { self.answer = answer }

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            promise?.succeed()
            self.decoder.append(self.unwrapOutboundIn(data))
            while let message = try? self.decoder.next() {
                var frame = ByteBuffer()
                guard let answer = self.answer(message), (try? answer.write(to: &frame)) != nil else { continue }
                context.fireChannelRead(NIOAny(frame))
            }
        }
    }
}
