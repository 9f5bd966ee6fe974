import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import NIOPosix
import OnionAddress
import OnionCells
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Status socket")
struct StatusSocketTests {
    /// A directory for one test, short enough for a socket's path.
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = "/tmp/thor-status-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    private func server(
        _ directory: String, _ status: ProxyStatus, newIdentity: EventLoopPromise<Void>,
        trace: @escaping @Sendable (StreamRequest) -> Result<OpenedStream, StreamFailure> = { _ in .failure(.noCircuit)
        }
    ) -> StatusServer {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        return StatusServer(
            stateDirectory: directory, eventLoop: loop,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            services: StatusServices(
                status: { loop.makeSucceededFuture(status) }, newIdentity: { newIdentity.succeed() },
                trace: { request in
                    let result = trace(request)
                    var told = StreamTrace(host: request.host, port: request.port)
                    if case .failure = result { told.failedStep = .connect }
                    return loop.makeSucceededFuture(TracedStream(trace: told, result: result))
                }))
    }

    /// Ask until the server listens; it says nothing when it does.
    private func ask(_ directory: String) async throws -> ProxyStatus {
        while true {
            do {
                return try await StatusQuery.ask(stateDirectory: directory).status
            } catch ProxyError.notRunning {
                await Task.yield()
            }
        }
    }

    @Test(
        "tells the status over a socket that only the user can open, in place of a stale one", .timeLimit(.minutes(1)))
    func status() async throws {
        let hop = ClientStatus.Hop(fingerprint: "AAAA", nickname: "a", address: "[::1]:9001", country: "")
        let status = ProxyStatus(
            client: ClientStatus(
                progress: ClientProgress(percent: 100, text: "open"), guard: hop,
                circuits: [.init(state: .building, hops: [hop, hop, hop], ageSeconds: 1.5, streamCount: 0)]),
            listeners: ["127.0.0.1:1080"])
        try await self.withDirectory { directory in
            for _ in 0..<2 {
                // What a proxy that was killed leaves behind.
                let stale = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .bind(
                        unixDomainSocketPath: "\(directory)/\(StatusSocket.fileName)", cleanupExistingSocketFile: true
                    )
                    .get()
                try await stale.close().get()
                let told = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
                let running = Task { try await self.server(directory, status, newIdentity: told).run() }
                #expect(try await self.ask(directory) == status)
                try await StatusQuery.newIdentity(stateDirectory: directory)
                try await told.futureResult.get()
                let attributes = try FileManager.default.attributesOfItem(
                    atPath: "\(directory)/\(StatusSocket.fileName)")
                #expect(attributes[.posixPermissions] as? Int == 0o600)
                running.cancel()
                try await running.value
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            }
        }
    }

    /// Run a server whose streams are what `trace` says, and trace a URL over it.
    private func trace(
        _ url: String, _ trace: @escaping @Sendable (StreamRequest) -> Result<OpenedStream, StreamFailure>
    ) async throws -> RequestTrace {
        let url = try TraceURL(url)
        let told = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
        told.succeed()
        let status = ProxyStatus(client: ClientStatus(progress: ClientProgress(percent: 100, text: "open")))
        let result = NIOLockedValueBox<RequestTrace?>(nil)
        try await self.withDirectory { directory in
            let running = Task {
                try await self.server(directory, status, newIdentity: told, trace: trace).run()
            }
            _ = try await self.ask(directory)
            let trace = try await TraceQuery.ask(
                url, wish: "country-se", certificates: nil, stateDirectory: directory)
            result.withLockedValue { $0 = trace }
            running.cancel()
            try await running.value
        }
        return try #require(result.withLockedValue { $0 })
    }

    /// A stream whose far end answers every request with `answer`.
    private func stream(answering answer: String) -> OpenedStream {
        OpenedStream(
            connected: Connected(address: .v4(0x7f00_0001), ttlSeconds: 60),
            attach: { channel in
                channel.eventLoop.flatSubmit {
                    let added = channel.pipeline.addHandler(AnsweringEdge(answer: answer))
                    added.whenSuccess { channel.read() }
                    return added
                }
            }, discard: {})
    }

    @Test("two traces share no circuit, not even of one place", .timeLimit(.minutes(1)))
    func tracesApart() async throws {
        let asked = NIOLockedValueBox<Set<IsolationKey>>([])
        for _ in 0..<2 {
            _ = try await self.trace("http://a.test/") { request in
                asked.withLockedValue { _ = $0.insert(request.isolation) }
                return .failure(.noCircuit)
            }
        }
        #expect(asked.withLockedValue { $0.count } == 2)
    }

    @Test("a traced stream goes on over the socket, to the first byte of the answer", .timeLimit(.minutes(1)))
    func traced() async throws {
        let asked = NIOLockedValueBox<StreamRequest?>(nil)
        let trace = try await self.trace("http://a.test:81/x") { request in
            asked.withLockedValue { $0 = request }
            return .success(self.stream(answering: "HTTP/1.1 204 No Content\r\n\r\n"))
        }
        #expect(trace.httpStatus == 204 && trace.firstByteSeconds != nil && trace.failure == nil)
        #expect(trace.tlsSeconds == nil && trace.totalSeconds != nil)
        let request = try #require(asked.withLockedValue { $0 })
        #expect(request.host == "a.test" && request.port == 81)
        #expect(request.exit == ExitWish(countries: .only(["SE"])))
    }

    @Test(
        "a failure to open is told with its step, one of TLS too, and an answer that is not HTTP",
        .timeLimit(.minutes(1)))
    func notTraced() async throws {
        let refused = try await self.trace("http://a.test/") { _ in .failure(.ended(.connectionRefused)) }
        #expect(refused.failure == .init(step: "connect", text: "The destination refused the connection."))
        let plain = try await self.trace("https://a.test/") { _ in
            .success(self.stream(answering: "HTTP/1.1 400 Bad Request\r\n\r\n"))
        }
        #expect(plain.failure == .init(step: "tls", text: "The server does not speak TLS on that port."))
        let other = try await self.trace("http://a.test/") { _ in .success(self.stream(answering: "SSH-2.0-x\r\n")) }
        #expect(other.failure?.step == "request" && other.firstByteSeconds != nil)
    }

    @Test(
        "one question more than there may be at once is closed; when one is over, there is room",
        .timeLimit(.minutes(1)))
    func connections() async throws {
        let told = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
        told.succeed()
        let status = ProxyStatus(client: ClientStatus(progress: ClientProgress(percent: 100, text: "open")))
        try await self.withDirectory { directory in
            let running = Task { try await self.server(directory, status, newIdentity: told).run() }
            _ = try await self.ask(directory)
            let path = try StatusSocket.path(stateDirectory: directory)
            func connect() -> EventLoopFuture<any Channel> {
                ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(unixDomainSocketPath: path)
            }
            // They are there and ask nothing; all at once, for the server waits 5 s for what they ask.
            var silent = try await EventLoopFuture.whenAllSucceed(
                (0..<StatusServer.connectionCount).map { _ in connect() },
                on: MultiThreadedEventLoopGroup.singleton.next()
            ).get()
            try await connect().get().closeFuture.get()
            #expect(silent.count { $0.isActive } == StatusServer.connectionCount)
            try await silent.removeLast().close().get()
            var answer: ProxyStatus?
            // The server hears a moment later that there is room.
            while answer == nil { answer = try? await StatusQuery.ask(stateDirectory: directory).status }
            #expect(answer == status)
            for channel in silent { try? await channel.close().get() }
            running.cancel()
            try await running.value
        }
    }

    @Test("takes a question so long and no longer, and one line of so many bytes and no more") func patience() throws {
        let loop = EmbeddedEventLoop()
        func connection() throws -> EmbeddedChannel {
            let never = StatusServices(
                status: { loop.makePromise(of: ProxyStatus.self).futureResult }, newIdentity: {},
                trace: { _ in loop.makePromise(of: TracedStream.self).futureResult })
            let channel = EmbeddedChannel(handler: StatusServerHandler(services: never), loop: loop)
            try channel.connect(to: SocketAddress(unixDomainSocketPath: "/x")).wait()
            return channel
        }
        let silent = try connection()
        loop.advanceTime(by: StatusServerHandler.patience - .nanoseconds(1))
        #expect(silent.isActive)
        loop.advanceTime(by: .nanoseconds(1))
        #expect(!silent.isActive)

        let long = try connection()
        let limit = StatusSocket.maximumCommandByteCount
        try long.writeInbound(ByteBuffer(repeating: UInt8(ascii: "x"), count: limit))
        #expect(long.isActive)
        try long.writeInbound(ByteBuffer(string: "x"))
        #expect(!long.isActive)
        for channel in [silent, long] { _ = try? channel.finish(acceptAlreadyClosed: true) }
    }

    @Test("a stream that was traced for somebody who has gone is discarded")
    func goneMeanwhile() throws {
        let loop = EmbeddedEventLoop()
        let traced = loop.makePromise(of: TracedStream.self)
        let (discarded, attached) = (NIOLockedValueBox(0), NIOLockedValueBox(0))
        let services = StatusServices(
            status: { loop.makePromise(of: ProxyStatus.self).futureResult }, newIdentity: {},
            trace: { _ in traced.futureResult })
        let channel = EmbeddedChannel(handler: StatusServerHandler(services: services), loop: loop)
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/x")).wait()
        let line = try #require(StatusCommand.traceLine(host: "a.test", port: 80, wish: nil))
        try channel.writeInbound(ByteBuffer(string: line + "\n"))
        channel.close(promise: nil)
        loop.run()
        let stream = OpenedStream(
            connected: Connected(address: .v4(1), ttlSeconds: 60),
            attach: { channel in
                attached.withLockedValue { $0 += 1 }
                return channel.eventLoop.makeSucceededVoidFuture()
            }, discard: { discarded.withLockedValue { $0 += 1 } })
        traced.succeed(TracedStream(trace: StreamTrace(host: "a.test", port: 80), result: .success(stream)))
        loop.run()
        #expect(discarded.withLockedValue { $0 } == 1 && attached.withLockedValue { $0 } == 0)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    /// One that asks, in a channel without a network, and what it is told.
    private func asking(staysOpen: Bool) throws -> (channel: EmbeddedChannel, answer: EventLoopFuture<String>) {
        let channel = EmbeddedChannel()
        let answer = channel.eventLoop.makePromise(of: String.self)
        try channel.pipeline.syncOperations.addHandler(
            AnswerHandler(answer: answer, patience: .seconds(5), staysOpen: staysOpen))
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/x")).wait()
        return (channel, answer.futureResult)
    }

    @Test("what comes behind the answer is the stream's, lines and all")
    func behindAnswer() throws {
        let (channel, answer) = try self.asking(staysOpen: true)
        try channel.writeInbound(ByteBuffer(string: "answer\none\n"))
        try channel.writeInbound(ByteBuffer(string: "two\n"))
        #expect(try answer.wait() == "answer")
        try TraceQuery.removeAnswerHandler(of: channel)
        channel.embeddedEventLoop.run()
        #expect(try channel.readInbound(as: ByteBuffer.self) == ByteBuffer(string: "one\ntwo\n"))
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("whoever asks one thing closes once it is answered; whoever goes on does not", arguments: [true, false])
    func closesOnceAnswered(staysOpen: Bool) throws {
        let (channel, answer) = try self.asking(staysOpen: staysOpen)
        try channel.writeInbound(ByteBuffer(string: "answer\n"))
        #expect(try answer.wait() == "answer")
        #expect(channel.isActive == staysOpen)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("what came behind an answer goes nowhere once the connection is closed")
    func closedBehindAnswer() throws {
        let (channel, answer) = try self.asking(staysOpen: true)
        try channel.writeInbound(ByteBuffer(string: "answer\nmore"))
        #expect(try answer.wait() == "answer")
        channel.close(promise: nil)
        channel.embeddedEventLoop.run()
        #expect(try channel.readInbound(as: ByteBuffer.self) == nil)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("an answer that does not end is taken up to its limit")
    func endlessAnswer() throws {
        let (channel, answer) = try self.asking(staysOpen: false)
        let limit = StatusSocket.maximumAnswerByteCount
        try channel.writeInbound(ByteBuffer(repeating: UInt8(ascii: "x"), count: limit))
        #expect(channel.isActive)
        try channel.writeInbound(ByteBuffer(string: "x"))
        #expect(!channel.isActive)
        channel.embeddedEventLoop.run()
        #expect(throws: ChannelError.eof) { try answer.wait() }
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a proxy that did not take a new identity is not believed", .timeLimit(.minutes(1)))
    func newIdentityRefused() async throws {
        try await self.withDirectory { directory in
            let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(AnsweringEdge(answer: "{\"error\":\"x\"}\n"))
                    }
                }
                .bind(unixDomainSocketPath: try StatusSocket.path(stateDirectory: directory)).get()
            await #expect(throws: ProxyError.self) { try await StatusQuery.newIdentity(stateDirectory: directory) }
            try await listener.close().get()
        }
    }

    @Test("says that no proxy runs, and that a path is too long")
    func errors() async throws {
        try await self.withDirectory { directory in
            await #expect(throws: ProxyError.notRunning(stateDirectory: directory)) {
                _ = try await StatusQuery.ask(stateDirectory: directory)
            }
        }
        let room = StatusSocket.maximumPathByteCount - StatusSocket.fileName.utf8.count - 1
        let longest = "/" + String(repeating: "x", count: room - 1)
        #expect(try StatusSocket.path(stateDirectory: longest) == "\(longest)/\(StatusSocket.fileName)")
        let error = try #require(throws: ProxyError.self) { _ = try StatusSocket.path(stateDirectory: longest + "x") }
        // What the proxy's log says of it.
        #expect(
            StatusServer.words(error)
                == "\(longest)x/\(StatusSocket.fileName) is longer than the 103 bytes that a socket's path may have")
    }
}

/// Stands for a stream's edge with a server at its far end.
private final class AnsweringEdge: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let answer: String
    init(answer: String) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: self.answer)), promise: nil)
    }
}
