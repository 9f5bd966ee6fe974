import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOTLS
import OnionCells
import OnionCrypto
import OnionLink

/// A client's link to ::1 that sends Creates of nonsense, and keeps the reasons of the Destroys that answer them.
final class RawLink: Sendable {
    private struct State: Sendable {
        var isOpen = false
        var reasons: [UInt8] = []
    }

    private let channel: any Channel
    private let state: NIOLockedValueBox<State>

    private init(channel: any Channel, state: NIOLockedValueBox<State>) {
        self.channel = channel
        self.state = state
    }

    struct NotOpen: Error {}

    /// Connect, and return once the router has said NetInfo.
    static func dial(_ port: UInt16, linkKey: Ed25519PublicKey) async throws -> RawLink {
        let tls = try LinkTLS(credentials: nil, protocol: .link)
        let state = NIOLockedValueBox(State())
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: linkKey)
                    try channel.pipeline.syncOperations.addHandler(Handler(state: state))
                }
            }
            .connect(host: "::1", port: Int(port)).get()
        for _ in 0..<500 {
            if state.withLockedValue({ $0.isOpen }) { return RawLink(channel: channel, state: state) }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw NotOpen()
    }

    /// The reasons of all Destroys so far.
    var destroyReasons: [UInt8] { self.state.withLockedValue { $0.reasons } }

    /// Send a Create of the right form, for nobody's keys.
    func create(_ id: UInt32) {
        let body: [UInt8] = [0, 1] + [UInt8](repeating: 7, count: 3 * 32 + 1184) + [0, 0]
        self.channel.writeAndFlush(ByteBuffer(bytes: Self.cell(id, .create, body)), promise: nil)
    }

    func close() async { try? await self.channel.close().get() }

    private static func cell(_ id: UInt32, _ command: CellCommand, _ body: [UInt8]) -> [UInt8] {
        let cell = withUnsafeBytes(of: id.bigEndian) { [UInt8]($0) } + [command.rawValue] + body
        return cell + [UInt8](repeating: 0, count: Cell.byteCount - cell.count)
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let state: NIOLockedValueBox<State>
        private var received = ByteBuffer()

        init(state: NIOLockedValueBox<State>) { self.state = state }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard case .handshakeCompleted = event as? TLSUserEvent else { return }
            context.writeAndFlush(
                self.wrapOutboundOut(ByteBuffer(bytes: RawLink.cell(0, .netInfo, []))), promise: nil)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.received.writeImmutableBuffer(self.unwrapInboundIn(data))
            while let cell = self.received.readBytes(length: Cell.byteCount) {
                self.state.withLockedValue { state in
                    if cell[4] == CellCommand.netInfo.rawValue { state.isOpen = true }
                    if cell[4] == CellCommand.destroy.rawValue { state.reasons.append(cell[5]) }
                }
            }
            self.received.discardReadBytes()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
