import NIOCore
import NIOEmbedded
import OnionDirectory
import Testing

@testable import DirectoryServer
@testable import OnionLink

@Suite("Directory frames at the server")
struct DirectoryFrameHandlerTests {
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
