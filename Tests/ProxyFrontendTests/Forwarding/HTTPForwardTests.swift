import NIOCore
import NIOEmbedded
import NIOHTTP1
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("HTTP forwarding")
struct HTTPForwardTests {
    @Test(
        "targets in absolute form",
        arguments: [
            ("http://a.test", "a.test", 80, "a.test", "/"), ("HTTP://a.test/", "a.test", 80, "a.test", "/"),
            ("http://a.test:8080/b?c=d#e", "a.test", 8080, "a.test:8080", "/b?c=d"),
            ("http://a.test?c", "a.test", 80, "a.test", "/?c"), ("http://a.test:/x", "a.test", 80, "a.test", "/x"),
            ("http://[::1]/x", "::1", 80, "[::1]", "/x"), ("http://[::1]:81/x", "::1", 81, "[::1]:81", "/x"),
            ("http://a.test#e", "a.test", 80, "a.test", "/"),
            ("http://user:pw@a.test/x@y", "a.test", 80, "a.test", "/x@y"),
        ])
    func targets(text: String, host: String, port: UInt16, authority: String, originForm: String) throws {
        let target = try #require(HTTPForwardTarget(text, method: "GET"))
        #expect(target.host == host)
        #expect(target.port == port)
        #expect(target.authority == authority)
        #expect(target.originForm == originForm)
    }

    @Test("OPTIONS about a whole server")
    func options() {
        #expect(HTTPForwardTarget("http://a.test", method: "OPTIONS")?.originForm == "*")
        #expect(HTTPForwardTarget("http://a.test/", method: "OPTIONS")?.originForm == "/")
    }

    @Test(
        "other targets are none",
        arguments: [
            "/", "*", "a.test:80", "https://a.test/", "ftp://a.test/", "http:///x", "http://", "http://a:b:c/",
            "http://:80/",
            "http://a.test:0/", "http://a.test:65536/", "http://::1/", "http://[a.test]/", "http:/a.test/", "",
        ])
    func noTargets(text: String) { #expect(HTTPForwardTarget(text, method: "GET") == nil) }

    /// A channel with all that forwards.
    private func chain() throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandlers(HTTPForwardHandler.handlers())
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return channel
    }

    /// What an origin reads of what a program sends, in pieces of `size` bytes; nil once the connection is closed.
    private func forwarded(_ bytes: String, size: Int) throws -> (text: String, isOpen: Bool) {
        let channel = try self.chain()
        var buffer = ByteBuffer(string: bytes)
        while channel.isActive, let piece = buffer.readSlice(length: min(size, buffer.readableBytes)),
            piece.readableBytes > 0
        {
            try channel.writeInbound(piece)
        }
        var text = ""
        while let part = try channel.readInbound(as: ByteBuffer.self) { text += String(buffer: part) }
        let isOpen = channel.isActive
        _ = try? channel.finish(acceptAlreadyClosed: true)
        return (text, isOpen)
    }

    @Test(
        "what is the proxy's alone does not reach the origin, and the connection is for one request",
        arguments: [1, 7, 4096])
    func head(size: Int) throws {
        let request =
            "GET http://a.test:81/x HTTP/1.1\r\nHost: other\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\n"
            + "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nThor-Country: se\r\nTE: trailers\r\nAccept: */*\r\n\r\n"
        let (text, isOpen) = try self.forwarded(request, size: size)
        #expect(text == "GET /x HTTP/1.1\r\nHost: a.test:81\r\nAccept: */*\r\nConnection: close\r\n\r\n")
        #expect(isOpen)
    }

    @Test("a target that is none closes the connection, though the rest of its request is there", arguments: [3, 4096])
    func noTarget(size: Int) throws {
        let (text, isOpen) = try self.forwarded("POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", size: size)
        #expect(text.isEmpty)
        #expect(!isOpen)
    }

    @Test("the origin hears the program's own version, so that its answer can be read")
    func version() throws {
        let text = try self.forwarded("GET http://a.test/ HTTP/1.0\r\n\r\n", size: 4096).text
        #expect(text == "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    }

    @Test(
        "what cannot be read as a request is answered with 400, and the origin gets nothing",
        arguments: ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1", "Bad Name: x"])
    func unreadable(field: String) throws {
        let channel = try self.chain()
        channel.pipeline.fireChannelRead(ByteBuffer(string: "POST http://a.test/ HTTP/1.1\r\n\(field)\r\n\r\nhello"))
        channel.embeddedEventLoop.run()
        let answer = try #require(try channel.readOutbound(as: ByteBuffer.self))
        #expect(String(buffer: answer).hasPrefix("HTTP/1.1 400 "))
        #expect(try channel.readInbound(as: ByteBuffer.self) == nil)
        #expect(!channel.isActive)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a body passes, counted or in chunks", arguments: [4096, 5])
    func body(size: Int) throws {
        let counted = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"
        #expect(
            try self.forwarded(counted, size: size).text
                == "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        let chunked =
            "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        let text = try self.forwarded(chunked, size: 4096).text
        #expect(
            text == "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                + "5\r\nhello\r\n0\r\n\r\n")
    }

    @Test("no field that Connection names takes the body's length with it")
    func connectionNamesLength() throws {
        let request =
            "POST http://a.test/ HTTP/1.1\r\nConnection: Content-Length, host, X-Own\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\nhello"
        #expect(
            try self.forwarded(request, size: 4096).text
                == "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    }

    @Test("what was done to a body before it was cut into chunks is told to the origin")
    func otherCodings() throws {
        let request =
            "POST http://a.test/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: x-y,Chunked\r\n\r\n0\r\n\r\n"
        #expect(
            try self.forwarded(request, size: 4096).text
                == "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, x-y, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
        )
    }

    @Test("a second request, which may be for another origin, does not reach this one, and harms no answer")
    func secondRequest() throws {
        let channel = try self.chain()
        let one = "GET http://a.test/1 HTTP/1.1\r\nHost: a.test\r\n\r\n"
        try channel.writeInbound(ByteBuffer(string: one + "GET http://b.test/2 HTTP/1.1\r\nHost: b.test\r\n\r\n"))
        let sent = try #require(try channel.readInbound(as: ByteBuffer.self))
        #expect(String(buffer: sent) == "GET /1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        #expect(try channel.readInbound(as: ByteBuffer.self) == nil)

        // However long the answer takes, it comes whole.
        let loop = channel.embeddedEventLoop
        loop.advanceTime(by: .minutes(1))
        for _ in 0..<20 {
            try channel.writeOutbound(ByteBuffer(string: "answer"))
            loop.advanceTime(by: HTTPForwardHandler.answerRest - .milliseconds(1))
            #expect(channel.isActive)
        }
        loop.advanceTime(by: HTTPForwardHandler.answerRest + .milliseconds(1))
        #expect(!channel.isActive)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    /// Counts the bytes that the decoder behind it gets.
    private final class Counter: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private(set) var byteCount = 0

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.byteCount += Self.unwrapInboundIn(data).readableBytes
            context.fireChannelRead(data)
        }
    }

    @Test(
        "what comes behind a request is not held, though the decoder stops there; the connection ends with the answer",
        arguments: [
            "GET http://a.test/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            "GET http://a.test/ HTTP/1.1\r\n\r\nCONNECT a.test:1 HTTP/1.1\r\n\r\n",
            "GET http://a.test/ HTTP/1.1\r\n\r\n",
        ])
    func behind(start: String) throws {
        let channel = try self.chain()
        let pipeline = channel.pipeline.syncOperations
        let counter = Counter()
        let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
        try pipeline.addHandler(counter, position: .before(decoder))
        try channel.writeInbound(ByteBuffer(string: start))
        #expect(try channel.readInbound(as: ByteBuffer.self) != nil)
        let piece = ByteBuffer(repeating: UInt8(ascii: "x"), count: 4096)
        for _ in 0..<256 { try channel.writeInbound(piece) }
        #expect(counter.byteCount == start.utf8.count)
        #expect(try channel.readInbound(as: ByteBuffer.self) == nil)
        try channel.writeOutbound(ByteBuffer(string: "HTTP/1.1 204 None\r\n\r\n"))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: HTTPForwardHandler.answerRest)
        #expect(!channel.isActive)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("an empty line behind a request is no other request")
    func emptyLine() throws {
        let channel = try self.chain()
        try channel.writeInbound(ByteBuffer(string: "POST http://a.test/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"))
        try channel.writeInbound(ByteBuffer(string: "\r\n"))
        try channel.writeOutbound(ByteBuffer(string: "HTTP/1.1 204 None\r\n\r\n"))
        channel.embeddedEventLoop.advanceTime(by: HTTPForwardHandler.answerRest)
        #expect(channel.isActive)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a trailer without end breaks the request off")
    func endlessTrailer() throws {
        let channel = try self.chain()
        try channel.writeInbound(
            ByteBuffer(string: "POST http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "))
        let piece = ByteBuffer(repeating: UInt8(ascii: "x"), count: 4096)
        for _ in 0..<16 { try channel.writeInbound(piece) }
        // The stream's handler ends the connection.
        #expect(throws: ByteToMessageDecoderError.PayloadTooLargeError.self) { try channel.writeInbound(piece) }
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("an answer that has rested for its time is over when the second request comes")
    func restedAlready() throws {
        for (rest, isOpen) in [
            (HTTPForwardHandler.answerRest - .nanoseconds(1), true), (HTTPForwardHandler.answerRest, false),
        ] {
            let channel = try self.chain()
            let request = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"
            try channel.writeInbound(ByteBuffer(string: request))
            try channel.writeOutbound(ByteBuffer(string: "HTTP/1.1 204 None\r\n\r\n"))
            channel.embeddedEventLoop.advanceTime(by: rest)
            try channel.writeInbound(ByteBuffer(string: request))
            #expect(channel.isActive == isOpen)
            _ = try? channel.finish(acceptAlreadyClosed: true)
        }
    }

    @Test("an answer that is not there yet, or that the program has still to take, does not rest")
    func restlessAnswer() throws {
        let channel = try self.chain()
        let request = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"
        try channel.writeInbound(ByteBuffer(string: request + request))
        let loop = channel.embeddedEventLoop
        for part in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            try channel.writeOutbound(ByteBuffer(string: part))
            loop.advanceTime(by: .minutes(1))
            #expect(channel.isActive)
        }
        channel.write(ByteBuffer(string: "\r\nhello"), promise: nil)
        loop.advanceTime(by: .minutes(1))
        #expect(channel.isActive)
        channel.flush()
        loop.advanceTime(by: HTTPForwardHandler.answerRest)
        #expect(!channel.isActive)
        var text = ""
        while let part = try channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: part) }
        #expect(text.hasSuffix("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"))
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    /// A channel with nothing but the handler that forwards.
    private func bare() throws -> EmbeddedChannel {
        let channel = EmbeddedChannel(handler: HTTPForwardHandler())
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return channel
    }

    @Test("what the decoder says after the request is nobody's; other errors are the stream's")
    func lateErrors() throws {
        let channel = try self.bare()
        let head = HTTPRequestHead(version: .http1_0, method: .GET, uri: "http://a.test/")
        try channel.writeInbound(HTTPServerRequestPart.head(head))
        try channel.writeInbound(HTTPServerRequestPart.end(nil))
        channel.pipeline.fireErrorCaught(HTTPParserError.invalidMethod)
        channel.pipeline.fireErrorCaught(
            ByteToMessageDecoderError.dataReceivedInErrorState(ChannelError.eof, ByteBuffer()))
        try channel.throwIfErrorCaught()
        channel.pipeline.fireErrorCaught(ChannelError.ioOnClosedChannel)
        #expect(throws: ChannelError.ioOnClosedChannel) { try channel.throwIfErrorCaught() }
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a body in chunks is sent as HTTP/1.1, which alone has them")
    func chunkedVersion() throws {
        let channel = try self.bare()
        let head = HTTPRequestHead(
            version: .http1_0, method: .POST, uri: "http://a.test/", headers: ["transfer-encoding": "chunked"])
        try channel.writeInbound(HTTPServerRequestPart.head(head))
        let sent = try #require(try channel.readInbound(as: ByteBuffer.self))
        #expect(String(buffer: sent).hasPrefix("POST / HTTP/1.1\r\n"))
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("an empty piece of a body is none: as a chunk it would end the request")
    func emptyPiece() throws {
        let channel = try self.bare()
        let head = HTTPRequestHead(
            version: .http1_1, method: .POST, uri: "http://a.test/", headers: ["transfer-encoding": "chunked"])
        try channel.writeInbound(HTTPServerRequestPart.head(head))
        #expect(try channel.readInbound(as: ByteBuffer.self) != nil)
        try channel.writeInbound(HTTPServerRequestPart.body(ByteBuffer()))
        #expect(try channel.readInbound(as: ByteBuffer.self) == nil)
        try channel.writeInbound(HTTPServerRequestPart.body(ByteBuffer(string: "x")))
        #expect(try channel.readInbound(as: ByteBuffer.self) == ByteBuffer(string: "1\r\nx\r\n"))
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("of an answer cut off in its head, what was held goes on at its end", arguments: [false, true])
    func cutOff(byClose: Bool) throws {
        let channel = try self.bare()
        channel.writeAndFlush(ByteBuffer(string: "HTTP/1.1 200"), promise: nil)
        channel.embeddedEventLoop.run()
        #expect(try channel.readOutbound(as: ByteBuffer.self) == nil)
        if byClose {
            channel.close(promise: nil)
        } else {
            channel.writeAndFlush(ByteBuffer(), promise: nil)
        }
        channel.embeddedEventLoop.run()
        #expect(try channel.readOutbound(as: ByteBuffer.self) == ByteBuffer(string: "HTTP/1.1 200"))
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a stream that ends without an answer hears that nothing is left to write")
    func nothingHeld() throws {
        let channel = try self.bare()
        var isWritten = false
        channel.writeAndFlush(ByteBuffer()).assumeIsolated().whenSuccess { isWritten = true }
        channel.embeddedEventLoop.run()
        #expect(isWritten)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("the handshake reads where to, and keeps the head as it came; it heeds no wish, which a web page can write")
    func handshake() throws {
        let head = "GET http://a.test:81/x HTTP/1.1\r\nThor-Country: se\r\nProxy-Authorization: Basic eDp5\r\n\r\n"
        for splits in [[], [1], Array(1..<head.utf8.count)] {
            let result = Transcript(bytes(head) + bytes("body"), splits: splits)
            let request = ProxyRequest(
                proxyProtocol: .forward, target: .connect(host: "a.test", port: 81),
                credentials: ProxyCredentials(username: bytes("x"), password: bytes("y")),
                forwardedHead: bytes(head))
            #expect(result.end == .request(request))
            #expect(result.rest == bytes("body"))
        }
        let upgrade = Transcript(bytes("GET http://a.test/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"))
        guard case .request(let request) = upgrade.end else {
            Issue.record("no request")
            return
        }
        #expect(request.forwardedHead == bytes("GET http://a.test/ HTTP/1.1\r\nConnection: Upgrade\r\n\r\n"))
        let refused = Transcript(bytes(head), access: .password(bytes("z")))
        #expect(String(decoding: refused.sent, as: UTF8.self).hasPrefix("HTTP/1.1 407 "))
    }

    @Test(
        "nothing of a request goes ahead with Begin; it reaches the stream once it is open, without a reply before it")
    func connection() {
        var machine = ProxyConnection(access: .open, limits: ProxyLimits())
        let head = "GET http://a.test/ HTTP/1.1\r\n\r\n"
        guard case .open("a.test", 80, _, let earlyData) = machine.bytesReceived(ByteBuffer(string: head + "more"))
        else {
            Issue.record("no stream asked for")
            return
        }
        #expect(earlyData.readableBytes == 0)
        #expect(machine.streamOpened() == .attach(reply: ByteBuffer()))
        #expect(
            machine.attached()
                == .handOver(later: ByteBuffer(string: head + "more"), inputClosed: false, forwarding: true))
    }
}
