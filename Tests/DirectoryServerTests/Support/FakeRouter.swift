import NIOCore
import NIOPosix
import NIOTLS
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink

/// A router that listens on loopback and can do one thing: complete circuit handshakes.
struct FakeRouter: Sendable {
    var router: TestRouter
    let channel: any Channel
    let credentials: LinkCredentials

    /// - Parameters:
    ///   - linkKey: what the listener shows; by default the descriptor's.
    ///   - onionKey: what it answers handshakes with; by default the descriptor's.
    static func start(
        on group: any EventLoopGroup, linkKey: Ed25519PrivateKey? = nil, onionKey: X25519PrivateKey? = nil
    ) async throws -> FakeRouter {
        var router = TestRouter()
        let tls = try LinkTLS(
            credentials: try LinkCredentials(linkKey: linkKey ?? router.linkKey), protocol: .link)
        let server = CircuitHandshake.Server(
            identity: router.fingerprint, onionKeys: [onionKey ?? router.onionKey])
        let channel = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addServerHandlers(to: channel.pipeline.syncOperations)
                    try channel.pipeline.syncOperations.addHandler(FakeLink(server: server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = UInt16(channel.localAddress?.port ?? 0)
        router.address = Endpoint(address: .v4(0x7f00_0001), port: port)
        return FakeRouter(
            router: router, channel: channel, credentials: try LinkCredentials(linkKey: router.linkKey))
    }

    func stop() async throws { try await self.channel.close().get() }
}

/// Answers NetInfo with NetInfo and Create with Created.
private final class FakeLink: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let server: CircuitHandshake.Server
    private var received = ByteBuffer()

    init(server: CircuitHandshake.Server) { self.server = server }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = self.unwrapInboundIn(data)
        self.received.writeBuffer(&bytes)
        while let cell = self.received.readSlice(length: Cell.byteCount) {
            let header = CellHeader(of: cell.readableBytesSpan)
            var body = cell
            body.moveReaderIndex(forwardBy: Cell.headerByteCount)
            switch header.command {
            case .netInfo:
                var answer = ByteBuffer()
                NetInfo(unixTime: 1, observedAddress: .v4(0x7f00_0001)).write(to: &answer)
                self.send(.netInfo, .link, answer, context)
            case .create:
                guard let create = try? HandshakeBody.create(in: body.readableBytesSpan),
                    let answer = try? self.server.respond(to: create)
                else {
                    context.close(promise: nil)
                    return
                }
                self.send(.created, header.circuitID, ByteBuffer(bytes: answer.created), context)
            default: break
            }
        }
    }

    private func send(
        _ command: CellCommand, _ circuit: CircuitID, _ body: ByteBuffer, _ context: ChannelHandlerContext
    ) {
        var cell = ByteBuffer()
        cell.writeMultipleIntegers(circuit.rawValue, command.rawValue)
        cell.writeImmutableBuffer(body)
        cell.writeRepeatingByte(0, count: Cell.byteCount - cell.readableBytes)
        context.writeAndFlush(self.wrapOutboundOut(cell), promise: nil)
    }
}
