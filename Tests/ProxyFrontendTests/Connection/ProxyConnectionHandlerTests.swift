import Logging
import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Proxy connection handler")
struct ProxyConnectionHandlerTests {
    /// One application's connection in a channel without a network.
    private final class Connection {
        let channel = EmbeddedChannel()
        let socket = SocketManners()
        let client: FakeClient

        init(limits: ProxyLimits = ProxyLimits(), policy: ProxyPolicy = ProxyPolicy()) throws {
            self.client = FakeClient(eventLoop: self.channel.embeddedEventLoop)
            let handler = ProxyConnectionHandler(
                client: self.client, access: .open, limits: limits, policy: policy, listener: "127.0.0.1:1080",
                logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
            try self.channel.pipeline.syncOperations.addHandlers([self.socket, handler])
            try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 40000)).wait()
        }

        func receive(_ bytes: [UInt8]) {
            self.channel.pipeline.fireChannelRead(ByteBuffer(bytes: bytes))
            self.channel.pipeline.fireChannelReadComplete()
        }

        func sent() throws -> [UInt8] {
            var all: [UInt8] = []
            while let buffer = try self.channel.readOutbound(as: ByteBuffer.self) { all += buffer.readableBytesView }
            return all
        }

        /// Send a whole handshake for `a.test:80` with "early" behind it.
        func request() throws {
            self.receive(
                SOCKS5Bytes.accountGreeting + SOCKS5Bytes.account(bytes("alice"), bytes("pw"))
                    + SOCKS5Bytes.name(bytes("a.test")) + bytes("early"))
            #expect(try self.sent() == [5, 2, 1, 0])
        }

        /// Open the stream with an edge handler that is in place when `attached` completes.
        func open(_ edge: RecordingEdge, attached: EventLoopPromise<Void>? = nil) throws {
            let bound = NIOLoopBound(edge, eventLoop: self.channel.embeddedEventLoop)
            let promise = try #require(self.client.openings.last)
            promise.succeed(
                self.client.stream { channel in
                    let done = attached?.futureResult ?? channel.eventLoop.makeSucceededVoidFuture()
                    return done.flatMapThrowing {
                        try channel.pipeline.syncOperations.addHandler(bound.value)
                    }
                })
            self.channel.embeddedEventLoop.run()
        }

        var hasProxyHandler: Bool {
            (try? self.channel.pipeline.syncOperations.handler(type: ProxyConnectionHandler.self)) != nil
        }

        func finish() {
            self.client.finish()
            _ = try? self.channel.finish(acceptAlreadyClosed: true)
        }
    }

    @Test("a request goes to the client with isolation and early data, and success is said only when it has connected")
    func success() throws {
        let connection = try Connection()
        defer { connection.finish() }
        try connection.request()
        let request = try #require(connection.client.requests.first)
        #expect(request.host == "a.test")
        #expect(request.port == 80)
        #expect(request.earlyData == ByteBuffer(string: "early"))
        #expect(
            request.isolation
                == IsolationKey(
                    listener: "127.0.0.1:1080", clientAddress: "127.0.0.1", protocolName: "socks5",
                    username: bytes("alice"), password: bytes("pw")))
        #expect(try connection.sent().isEmpty)

        let edge = RecordingEdge()
        try connection.open(edge)
        #expect(try connection.sent() == [5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        #expect(!connection.hasProxyHandler)
        connection.receive(bytes("more"))
        #expect(edge.received == bytes("more"))
    }

    @Test("nothing is read between the request and the stream")
    func reads() throws {
        let connection = try Connection()
        defer { connection.finish() }
        #expect(connection.socket.readCount == 1)
        connection.receive([5])
        #expect(connection.socket.readCount == 2)
        connection.receive([1, 0] + SOCKS5Bytes.name(bytes("a.test")))
        #expect(connection.socket.readCount == 2)
        let edge = RecordingEdge()
        try connection.open(edge)
        #expect(connection.socket.readCount == 3)
        // Nothing came meanwhile, so nothing is passed on.
        #expect(edge.readCount == 0)
    }

    @Test("what arrives before the stream is attached reaches it in order, and so does a half-close")
    func later() throws {
        let connection = try Connection()
        defer { connection.finish() }
        try connection.request()
        connection.receive(bytes("one "))
        let edge = RecordingEdge()
        let attached = connection.channel.eventLoop.makePromise(of: Void.self)
        try connection.open(edge, attached: attached)
        connection.receive(bytes("two "))
        connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        #expect(edge.received.isEmpty)
        attached.succeed()
        #expect(edge.received == bytes("one two "))
        #expect(edge.sawInputClosed)
        #expect(!connection.hasProxyHandler)
    }

    @Test("a request to be forwarded is rewritten on its way to the stream, and the answer on its way back")
    func forwarding() throws {
        let connection = try Connection()
        defer { connection.finish() }
        connection.receive(bytes("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nThor-Country: se\r\n\r\n"))
        let request = try #require(connection.client.requests.first)
        #expect(request.host == "a.test" && request.earlyData.readableBytes == 0)
        let edge = RecordingEdge()
        try connection.open(edge)
        #expect(edge.received == bytes("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
        #expect(!connection.hasProxyHandler)
        try connection.channel.writeOutbound(ByteBuffer(string: "HTTP/1.1 204 None\r\n\r\n"))
        let sent = String(decoding: try connection.sent(), as: UTF8.self)
        #expect(sent == "HTTP/1.1 204 None\r\nConnection: close\r\n\r\n")
    }

    @Test("a request behind one for an upgrade, in one read with it, is seen, and the connection ends for it")
    func upgrade() throws {
        let connection = try Connection()
        defer { connection.finish() }
        let upgrade = "GET http://a.test/x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        connection.receive(bytes(upgrade + "GET http://a.test/y HTTP/1.1\r\n\r\n"))
        let edge = RecordingEdge()
        try connection.open(edge)
        #expect(edge.received == bytes("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
        try connection.channel.writeOutbound(ByteBuffer(string: "HTTP/1.1 204 None\r\n\r\n"))
        #expect(connection.channel.isActive)
        connection.channel.embeddedEventLoop.advanceTime(by: HTTPForwardHandler.answerRest)
        #expect(!connection.channel.isActive)
    }

    @Test("a failure is said, then the output closes, and the connection after the application's end")
    func failure() throws {
        let connection = try Connection()
        defer { connection.finish() }
        try connection.request()
        try #require(connection.client.openings.last).fail(StreamFailure.ended(.connectionRefused))
        #expect(try connection.sent() == socks5Failure(5))
        #expect(connection.socket.isOutputClosed)
        #expect(connection.channel.isActive)
        connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        #expect(!connection.channel.isActive)
    }

    @Test("an application that does not close after a refusal is closed in time")
    func lingerTimeout() throws {
        let limits = ProxyLimits()
        let connection = try Connection(limits: limits)
        defer { connection.finish() }
        connection.receive(SOCKS5Bytes.greeting + [5, 2])
        #expect(try connection.sent() == [5, 0] + socks5Failure(7))
        connection.channel.embeddedEventLoop.advanceTime(by: limits.lingerTimeout - .nanoseconds(1))
        #expect(connection.channel.isActive)
        connection.channel.embeddedEventLoop.advanceTime(by: .nanoseconds(1))
        #expect(!connection.channel.isActive)
    }

    @Test("a handshake is closed once nothing has come for a while")
    func handshakeSilence() throws {
        let limits = ProxyLimits()
        let connection = try Connection(limits: limits)
        defer { connection.finish() }
        let loop = connection.channel.embeddedEventLoop
        connection.receive([5])
        // A byte moves the end.
        loop.advanceTime(by: limits.handshakeSilence - .nanoseconds(1))
        connection.receive([2])
        loop.advanceTime(by: limits.handshakeSilence - .nanoseconds(1))
        #expect(connection.channel.isActive)
        loop.advanceTime(by: .nanoseconds(1))
        #expect(!connection.channel.isActive)
    }

    @Test("a handshake that does not end is closed in time, however many bytes trickle in")
    func handshakeTimeout() throws {
        var limits = ProxyLimits()
        limits.handshakeTimeout = .seconds(20)
        limits.handshakeSilence = .seconds(5)
        let connection = try Connection(limits: limits)
        defer { connection.finish() }
        let loop = connection.channel.embeddedEventLoop
        for byte in [5, 200] + [UInt8](repeating: 0, count: 17) {
            loop.advanceTime(by: .seconds(1))
            connection.receive([byte])
        }
        loop.advanceTime(by: .seconds(1) - .nanoseconds(1))
        #expect(connection.channel.isActive)
        loop.advanceTime(by: .nanoseconds(1))
        #expect(!connection.channel.isActive)
    }

    @Test("a waiting request outlives the handshake's time")
    func patience() throws {
        let limits = ProxyLimits()
        let connection = try Connection(limits: limits)
        defer { connection.finish() }
        try connection.request()
        connection.channel.embeddedEventLoop.advanceTime(by: limits.handshakeTimeout + .seconds(1))
        #expect(connection.channel.isActive)
    }

    @Test("a stream for an application that has gone is discarded")
    func gone() throws {
        let connection = try Connection()
        defer { connection.finish() }
        try connection.request()
        connection.channel.close(promise: nil)
        connection.channel.embeddedEventLoop.run()
        try connection.open(RecordingEdge())
        #expect(connection.client.discardedCount == 1)
    }

    @Test("the request of an application that has gone is taken back, one that has only closed its side is not")
    func withdrawal() throws {
        let lookUp = SOCKS5Bytes.name(bytes("a.test"), port: 0, command: 0xF0)
        let connect = bytes("CONNECT a.test:80 HTTP/1.1\r\n\r\n")
        for request in [
            SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test")), SOCKS5Bytes.greeting + lookUp,
            self.socks4("alice"), connect,
        ] {
            for early in ["", "early"] {
                let connection = try Connection()
                defer { connection.finish() }
                connection.receive(request + bytes(early))
                connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
                connection.channel.embeddedEventLoop.run()
                // The answer to a look-up can still reach him.
                let hasGone = early.isEmpty && connection.client.lookUps.isEmpty
                #expect(connection.client.withdrawnCount == (hasGone ? 1 : 0))
                connection.channel.close(promise: nil)
                connection.channel.embeddedEventLoop.run()
                #expect(connection.client.withdrawnCount == 1)
            }
        }
    }

    @Test("a stream that cannot be attached closes the connection")
    func attachFails() throws {
        let connection = try Connection()
        defer { connection.finish() }
        try connection.request()
        let attached = connection.channel.eventLoop.makePromise(of: Void.self)
        try connection.open(RecordingEdge(), attached: attached)
        attached.fail(ChannelError.eof)
        #expect(!connection.channel.isActive)
    }

    @Test("a look-up is asked of the client, with isolation and a wish like a stream's, and its answer sent")
    func lookUp() throws {
        let connection = try Connection()
        defer { connection.finish() }
        let user = bytes("country-se+alice")
        connection.receive(
            SOCKS5Bytes.accountGreeting + SOCKS5Bytes.account(user, bytes("pw"))
                + SOCKS5Bytes.name(bytes("a.test"), port: 0, command: 0xF0))
        #expect(try connection.sent() == [5, 2, 1, 0])
        let lookUp = try #require(connection.client.lookUps.first)
        #expect(lookUp.query == .addresses(of: "a.test"))
        #expect(lookUp.exit == ExitWish(countries: .only(["SE"])))
        #expect(
            lookUp.isolation
                == IsolationKey(
                    listener: "127.0.0.1:1080", clientAddress: "127.0.0.1", protocolName: "socks5", username: user,
                    password: bytes("pw")))
        lookUp.promise.succeed(.answers([.init(.address(.v4(0x0102_0304)), ttlSeconds: 5)]))
        #expect(try connection.sent() == [5, 0, 0, 1, 1, 2, 3, 4, 0, 0])
        #expect(connection.socket.isOutputClosed)
    }

    @Test("no nonsense keeps a connection open", arguments: [[0x16], [0], [6], [0x61]] as [[UInt8]])
    func nonsense(bytes: [UInt8]) throws {
        let connection = try Connection()
        defer { connection.finish() }
        connection.receive(bytes)
        #expect(try connection.sent().isEmpty)
        #expect(!connection.channel.isActive)
    }

    /// A SOCKS5 request under a user name.
    private func socks5(_ user: String) -> [UInt8] {
        SOCKS5Bytes.accountGreeting + SOCKS5Bytes.account(bytes(user), []) + SOCKS5Bytes.name(bytes("a.test"))
    }
    /// A SOCKS4a request under a user id.
    private func socks4(_ user: String) -> [UInt8] {
        [4, 1, 0, 80, 0, 0, 0, 1] + bytes(user) + [0] + bytes("a.test") + [0]
    }
    private func connect(_ fields: String) -> [UInt8] { bytes("CONNECT a.test:80 HTTP/1.1\r\n\(fields)\r\n") }

    @Test("a wish for an exit goes to the client, in whichever protocol it came")
    func wishes() throws {
        let sweden = ExitWish(countries: .only(["SE"]))
        let cases = [
            (self.socks5("country-se+alice"), sweden), (self.socks4("country-se"), sweden),
            (self.connect("Proxy-Authorization: Basic Y291bnRyeS1zZTo=\r\n"), sweden),
            (self.connect("thor-country:  se \r\n"), sweden),
            (self.connect("Thor-Country: se\r\nThor-Country: not-us\r\n"), sweden),
            (self.connect("Thor-Country: not-us\r\n"), ExitWish(countries: .not(["US"]))),
            (self.connect("Country: se\r\n"), .any), (self.socks5("alice"), .any),
            // A web page can write fields into what is forwarded, but no credentials.
            (bytes("GET http://a.test/ HTTP/1.1\r\nThor-Country: se\r\nThor-Exit: x\r\n\r\n"), .any),
            (
                bytes("GET http://a.test/ HTTP/1.1\r\nProxy-Authorization: Basic Y291bnRyeS1zZTo=\r\n\r\n"), sweden
            ),
        ]
        for (request, wish) in cases {
            let connection = try Connection()
            defer { connection.finish() }
            connection.receive(request)
            #expect(try #require(connection.client.requests.first).exit == wish)
        }
    }

    @Test("a wish that cannot be read is refused; nothing is opened")
    func malformedWish() throws {
        for (request, reply) in [
            (self.socks5("country-sweden"), [5, 2, 1, 0] + socks5Failure(2)),
            (self.socks4("exit-nobody"), [0, 91, 0, 0, 0, 0, 0, 0]),
            (self.connect("Thor-Exit: nobody\r\n"), bytes("HTTP/1.1 400 ")),
        ] {
            let connection = try Connection()
            defer { connection.finish() }
            connection.receive(request)
            #expect(connection.client.requests.isEmpty)
            #expect(try connection.sent().starts(with: reply))
        }
    }

    @Test("isolation by destination, if wished: host and port, in any capitals", arguments: [false, true])
    func isolateDestination(wished: Bool) throws {
        var policy = ProxyPolicy()
        policy.isolatesDestinations = wished
        func isolation(_ name: String, port: UInt16) throws -> IsolationKey {
            let connection = try Connection(policy: policy)
            defer { connection.finish() }
            connection.receive(SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes(name), port: port))
            return try #require(connection.client.requests.first).isolation
        }
        let key = try isolation("a.test", port: 80)
        #expect(try isolation("A.test", port: 80) == key)
        #expect(try (isolation("b.test", port: 80) != key) == wished)
        #expect(try (isolation("a.test", port: 443) != key) == wished)
    }

    @Test("addresses are refused, if wished; names are not")
    func refuseAddresses() throws {
        var policy = ProxyPolicy()
        policy.refusesAddresses = true
        for (host, isRefused) in [("192.0.2.1", true), ("2001:db8::1", true), ("a.test", false)] {
            let connection = try Connection(policy: policy)
            defer { connection.finish() }
            connection.receive(SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes(host)))
            #expect(connection.client.requests.isEmpty == isRefused)
            #expect(try connection.sent() == [5, 0] + (isRefused ? socks5Failure(2) : []))
        }
    }
}
