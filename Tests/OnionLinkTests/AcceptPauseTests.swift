import NIOCore
import NIOEmbedded
import Testing

@testable import OnionLink

@Suite("Pause of a listener")
struct AcceptPauseTests {
    private static func isAccepting(_ channel: EmbeddedChannel) -> Bool? {
        channel.options.last { $0.option is ChannelOptions.Types.AutoReadOption }?.value as? Bool
    }

    @Test("a listener that cannot accept rests for a second, and then accepts again") func rests() throws {
        let channel = EmbeddedChannel(handler: AcceptPause())
        channel.pipeline.fireErrorCaught(IOError(errnoCode: 24, reason: "accept"))
        #expect(Self.isAccepting(channel) == false)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(999))
        #expect(Self.isAccepting(channel) == false)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(Self.isAccepting(channel) == true)
        #expect(throws: Never.self) { try channel.throwIfErrorCaught() }
        _ = try channel.finish()
    }

    @Test("what is no failure to accept is not its business") func others() throws {
        let channel = EmbeddedChannel(handler: AcceptPause())
        channel.pipeline.fireErrorCaught(ChannelError.inputClosed)
        #expect(Self.isAccepting(channel) == nil)
        #expect(throws: ChannelError.inputClosed) { try channel.throwIfErrorCaught() }
        _ = try channel.finish()
    }
}
