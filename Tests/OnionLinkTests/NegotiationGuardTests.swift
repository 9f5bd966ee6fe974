import NIOCore
import NIOEmbedded
import NIOTLS
import Testing

@testable import OnionLink

@Suite("Negotiation guard")
struct NegotiationGuardTests {
    private static func connection() throws -> EmbeddedChannel {
        let channel = EmbeddedChannel(handler: NegotiationGuard(expecting: .link))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9001)).wait()
        return channel
    }

    @Test("waits so long for TLS and no longer") func timeLimit() throws {
        let channel = try Self.connection()
        channel.embeddedEventLoop.advanceTime(by: .nanoseconds(9_999_999_999))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .nanoseconds(1))
        #expect(!channel.isActive)
        #expect(throws: LinkError.handshakeTimedOut) { try channel.throwIfErrorCaught() }
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    @Test(
        "lets exactly its protocol through, and then has no time limit", arguments: ["thor/1", "thor-dir/1", "", nil])
    func negotiated(name: String?) throws {
        let channel = try Self.connection()
        channel.pipeline.fireUserInboundEventTriggered(TLSUserEvent.handshakeCompleted(negotiatedProtocol: name))
        channel.embeddedEventLoop.advanceTime(by: NegotiationGuard.handshakeTimeLimit * 2)
        #expect(channel.isActive == (name == LinkProtocol.link.rawValue))
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }
}
