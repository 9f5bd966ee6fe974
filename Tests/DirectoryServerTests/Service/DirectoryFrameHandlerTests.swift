import NIOCore
import NIOEmbedded
import OnionDirectory
import Testing

@testable import DirectoryServer
@testable import OnionLink

@Suite("Directory frame handler")
struct DirectoryFrameHandlerTests {
    private static func connection() throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandler(
            DirectoryFrameHandler(
                peer: PeerKey(), answers: AnswerBudget(limit: 1 << 20, metrics: ServerMetrics())))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9030)).wait()
        return channel
    }

    private static func request() throws -> ByteBuffer {
        var frame = ByteBuffer()
        try DirectoryMessage.getConsensus(haveRevision: 1).write(to: &frame)
        return frame
    }

    @Test("waits for the first message so long and no longer, whatever single bytes come") func first() throws {
        let channel = try Self.connection()
        var frame = try Self.request()
        let limit = DirectoryFrameHandler.firstMessageTimeLimit
        for _ in 0..<frame.readableBytes - 1 {
            let byte = frame.readSlice(length: 1)
            try channel.writeInbound(try #require(byte))
            channel.embeddedEventLoop.advanceTime(by: .nanoseconds(limit.nanoseconds / 100))
        }
        let passed = channel.embeddedEventLoop.now - .uptimeNanoseconds(0)
        channel.embeddedEventLoop.advanceTime(by: limit - passed - .nanoseconds(1))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .nanoseconds(1))
        #expect(!channel.isActive)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("between two messages may lie so much time and no more; each whole one begins it anew") func idle() throws {
        let channel = try Self.connection()
        let limit = DirectoryFrameHandler.idleTimeLimit
        for _ in 0..<3 {
            try channel.writeInbound(try Self.request())
            channel.embeddedEventLoop.advanceTime(by: limit - .nanoseconds(1))
            #expect(channel.isActive)
        }
        channel.embeddedEventLoop.advanceTime(by: .nanoseconds(1))
        #expect(!channel.isActive)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("messages of a peer that does not take its answers hold no connection") func notTaken() throws {
        let channel = try Self.connection()
        let limit = DirectoryFrameHandler.idleTimeLimit
        func ask() throws {
            try channel.writeInbound(try Self.request())
            channel.embeddedEventLoop.advanceTime(by: .nanoseconds(limit.nanoseconds / 2))
        }
        try ask()
        channel.write(DirectoryMessage.notModified(revision: 1), promise: nil)
        channel.flush()
        try ask()
        channel.write(DirectoryMessage.notModified(revision: 1), promise: nil)
        #expect(channel.isActive)
        try ask()
        #expect(!channel.isActive)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test("answers count until they are sent, and who lets too many wait is closed")
    func untaken() throws {
        let answer = DirectoryMessage.notModified(revision: 1)
        var frame = ByteBuffer()
        try answer.write(to: &frame)
        let budget = AnswerBudget(limit: 2 * frame.readableBytes, metrics: ServerMetrics())
        let channel = EmbeddedChannel(handler: DirectoryFrameHandler(peer: PeerKey(), answers: budget))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        for _ in 0..<2 {
            channel.write(answer, promise: nil)
            channel.write(answer, promise: nil)
            #expect(channel.isActive)
            // What is sent makes room.
            channel.flush()
        }
        for _ in 0..<3 { channel.write(answer, promise: nil) }
        #expect(!channel.isActive)
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
