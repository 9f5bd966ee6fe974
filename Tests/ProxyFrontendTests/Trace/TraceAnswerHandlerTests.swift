import NIOCore
import NIOEmbedded
import Testing

@testable import ProxyFrontend

@Suite("First line of a traced answer")
struct TraceAnswerHandlerTests {
    /// A handler in an open channel, and what it says, once it does.
    private final class Answer {
        let channel = EmbeddedChannel()
        let handler: TraceAnswerHandler
        private(set) var result: Result<TraceAnswerHandler.Head, any Error>?

        init(isOpen: Bool = true) throws {
            let promise = self.channel.eventLoop.makePromise(of: TraceAnswerHandler.Head.self)
            self.handler = TraceAnswerHandler(answer: promise, patience: .seconds(30))
            if isOpen { try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait() }
            promise.futureResult.assumeIsolated().whenComplete { self.result = $0 }
            try self.channel.pipeline.syncOperations.addHandler(self.handler)
        }

        func receive(_ text: String) throws {
            try self.channel.writeInbound(ByteBuffer(string: text))
            self.channel.embeddedEventLoop.run()
        }

        /// nil: none so far, or a failure.
        var head: TraceAnswerHandler.Head? { try? self.result?.get() }

        func finish() { _ = try? self.channel.finish(acceptAlreadyClosed: true) }
    }

    @Test("is waited for until it is whole, and no longer than the server's time")
    func pieces() throws {
        let answer = try Answer()
        defer { answer.finish() }
        try answer.receive("HTTP/1.1 20")
        #expect(answer.result == nil)
        try answer.receive("4 None\r\n")
        #expect(answer.head?.status == 204)

        let silent = try Answer()
        defer { silent.finish() }
        silent.channel.embeddedEventLoop.advanceTime(by: .seconds(30))
        #expect(throws: TraceAnswerHandler.TimedOut.self) { try silent.result?.get() }
    }

    @Test("fails at once on a connection that is closed, and is what came before the end otherwise")
    func closed() throws {
        let closed = try Answer(isOpen: false)
        defer { closed.finish() }
        closed.channel.embeddedEventLoop.run()
        #expect(throws: ChannelError.eof) { try closed.result?.get() }
        let cut = try Answer()
        defer { cut.finish() }
        try cut.receive("HTTP/1.1 200")
        cut.channel.close(promise: nil)
        cut.channel.embeddedEventLoop.run()
        #expect(cut.head?.status == 200)
    }

    @Test("a line that does not end is judged at its limit, and no more of it is kept")
    func limit() throws {
        let answer = try Answer()
        defer { answer.finish() }
        let start = "HTTP/1.1 200 "
        try answer.receive(start + String(repeating: "x", count: TraceAnswerHandler.lineLimit - start.utf8.count))
        #expect(answer.result == nil)
        try answer.receive("x")
        #expect(answer.head?.status == 200)
        try answer.receive(String(repeating: "x", count: 100_000))
        #expect(answer.handler.received.readableBytes == TraceAnswerHandler.lineLimit + 1)
    }
}
