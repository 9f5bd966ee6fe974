import NIOCore
import NIOEmbedded
import OnionCrypto
import OnionDirectory

@testable import DirectoryServer
@testable import OnionLink

/// The directory's end of one connection. A peer sends pieces, or nothing for a while; what is read must be what the bytes
/// say, and the connection must not outlive its patience.
struct WatchedConnection {
    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = DirectoryEvent
        var messages: [DirectoryMessage] = []
        var hasFailed = false

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if case .message(let message) = Self.unwrapInboundIn(data) { self.messages.append(message) }
        }
        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            precondition(error is DirectoryError, "a peer's bytes are another fault than the peer's")
            self.hasFailed = true
        }
    }

    /// The script is pieces, each after a byte that says how long it is; 255 is a wait, as many seconds as the next byte says.
    static func play(_ script: inout ArraySlice<UInt8>) -> Bool {
        let loop = EmbeddedEventLoop()
        let channel = EmbeddedChannel(loop: loop)
        let collector = Collector()
        do {
            try channel.pipeline.syncOperations.addHandlers([
                DirectoryFrameHandler(peer: PeerKey(), answers: AnswerBudget(limit: 1 << 20, metrics: ServerMetrics())),
                collector,
            ])
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        } catch { preconditionFailure("no connection: \(error)") }
        var fed = ByteBuffer()
        var quiet: Int64 = 0
        while channel.isActive, let count = script.popFirst() {
            let before = collector.messages.count
            if count == 255 {
                let seconds = Int64(script.popFirst() ?? 0)
                loop.advanceTime(by: .seconds(seconds))
                quiet += seconds
            } else {
                let piece = ByteBuffer(bytes: script.prefix(Int(count)))
                script = script.dropFirst(Int(count))
                fed.writeImmutableBuffer(piece)
                _ = try? channel.writeInbound(piece)
            }
            if collector.messages.count > before { quiet = 0 }
            let patience =
                collector.messages.isEmpty
                ? DirectoryFrameHandler.firstMessageTimeLimit : DirectoryFrameHandler.idleTimeLimit
            precondition(
                !channel.isActive || .seconds(quiet) < patience, "a connection lives on that says nothing")
        }
        precondition(!collector.hasFailed || !channel.isActive, "a connection lives on after nonsense")
        Self.check(collector.messages, fed)
        channel.close(promise: nil)
        _ = try? channel.finish(acceptAlreadyClosed: true)
        return !collector.messages.isEmpty && !collector.hasFailed
    }

    private static func check(_ messages: [DirectoryMessage], _ bytes: ByteBuffer) {
        var decoder = DirectoryFrameDecoder(receiver: .directory)
        decoder.append(bytes)
        for message in messages {
            precondition((try? decoder.next()) == message, "messages depend on how they arrive")
        }
        let next = try? decoder.next()
        precondition(next == nil || next == .some(nil), "a message that came is kept back")
    }
}
