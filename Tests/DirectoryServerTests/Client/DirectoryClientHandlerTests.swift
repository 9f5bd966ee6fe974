import NIOCore
import NIOEmbedded
import NIOTLS
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryClient
@testable import OnionLink

@Suite("Directory client handler")
struct DirectoryClientHandlerTests {
    private static let now: UInt64 = 1_800_000_000
    private let directoryKey = Ed25519PrivateKey()
    private let linkKey = Ed25519PrivateKey()
    private let channel = EmbeddedChannel()
    private let handler: DirectoryClientHandler
    private let opened: EventLoopPromise<Void>

    init() throws {
        self.opened = self.channel.eventLoop.makePromise()
        self.handler = DirectoryClientHandler(
            peer: PeerKey(publicKey: self.linkKey.publicKey), directoryKey: self.directoryKey.publicKey,
            opened: self.opened, timeLimit: DirectoryDialler.timeLimit, unixSeconds: { Self.now })
        try self.channel.pipeline.syncOperations.addHandler(self.handler)
        try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9030)).wait()
        self.channel.pipeline.fireUserInboundEventTriggered(TLSUserEvent.handshakeCompleted(negotiatedProtocol: nil))
    }

    private func sayHello(expires: UInt64) throws {
        let hello = try DirectoryHello.make(
            linkKey: self.linkKey.publicKey, expires: expires, signedBy: self.directoryKey)
        var frame = ByteBuffer()
        try DirectoryMessage.hello(hello.bytes).write(to: &frame)
        try self.channel.writeInbound(frame)
    }

    @Test("a directory that says no Hello is waited for so long and no longer") func hello() throws {
        let loop = self.channel.embeddedEventLoop
        loop.advanceTime(by: DirectoryDialler.timeLimit - .nanoseconds(1))
        #expect(self.channel.isActive)
        loop.advanceTime(by: .nanoseconds(1))
        #expect(!self.channel.isActive)
        #expect(throws: DirectoryConnectionError.timedOut) { try self.opened.futureResult.wait() }
        _ = try? self.channel.finish(acceptAlreadyClosed: true)
    }

    @Test(
        "a Hello is good until the second in which it expires, by the clock that is given",
        arguments: [0, 1] as [UInt64])
    func expiry(left: UInt64) throws {
        try self.sayHello(expires: Self.now + left)
        #expect(self.channel.isActive == (left == 1))
        if left == 1 {
            try self.opened.futureResult.wait()
        } else {
            #expect(throws: DirectoryConnectionError.self) { try self.opened.futureResult.wait() }
        }
        _ = try? self.channel.finish(acceptAlreadyClosed: true)
    }

    @Test("who asks too late hears why the connection ended") func askedLate() throws {
        try self.sayHello(expires: Self.now + 60)
        let loop = self.channel.embeddedEventLoop
        let limit = DirectoryConnection.answerTimeLimit
        let (answer, late) = (loop.makePromise(of: DirectoryMessage.self), loop.makePromise(of: DirectoryMessage.self))
        self.handler.ask(.heartbeat, .heartbeat(counter: 1, load: RouterLoad()), timeLimit: limit, promise: answer)
        loop.advanceTime(by: limit)
        self.handler.ask(.ticket, .getTicket(commitment: .zero), timeLimit: limit, promise: late)
        for promise in [answer, late] {
            #expect(throws: DirectoryConnectionError.timedOut) { try promise.futureResult.wait() }
        }
        _ = try? self.channel.finish(acceptAlreadyClosed: true)
    }

    @Test("an answer is waited for so long and no longer, and the connection ends with it") func answer() throws {
        try self.sayHello(expires: Self.now + 60)
        let loop = self.channel.embeddedEventLoop
        let answer = loop.makePromise(of: DirectoryMessage.self)
        let limit = DirectoryConnection.answerTimeLimit
        self.handler.ask(.heartbeat, .heartbeat(counter: 1, load: RouterLoad()), timeLimit: limit, promise: answer)
        loop.advanceTime(by: limit - .nanoseconds(1))
        #expect(self.channel.isActive)
        loop.advanceTime(by: .nanoseconds(1))
        #expect(!self.channel.isActive)
        #expect(throws: DirectoryConnectionError.timedOut) { try answer.futureResult.wait() }
        _ = try? self.channel.finish(acceptAlreadyClosed: true)
    }
}
