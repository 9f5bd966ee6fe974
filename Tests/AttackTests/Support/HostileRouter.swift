import DirectoryClient
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink
import Testing

/// A router that the directory lists, since it answers the directory's probe as it should, and that then does what it
/// likes to whoever extends a circuit to it.
final class HostileRouter: Sendable {
    /// What it does with a Create, once it is listed.
    enum Deed: Sendable {
        case answer
        /// Answer with these cells; the circuit's id is put in.
        case cells(@Sendable (_ created: [UInt8]) -> [(command: CellCommand, body: [UInt8])])
    }

    let identity = Ed25519PrivateKey()
    let linkKey = Ed25519PrivateKey()
    private let onionKey = X25519PrivateKey()
    private let deed = NIOLockedValueBox(Deed.answer)
    private let listener: any Channel
    private let connection: NIOLockedValueBox<DirectoryConnection?>

    /// Start it, and wait until it is listed.
    init(in network: AttackedNetwork) async throws {
        let credentials = try LinkCredentials(linkKey: self.linkKey)
        let tls = try LinkTLS(credentials: credentials, protocol: .link)
        let server = CircuitHandshake.Server(identity: self.identity.publicKey, onionKeys: [self.onionKey])
        let deed = self.deed
        self.connection = NIOLockedValueBox(nil)
        self.listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addServerHandlers(to: channel.pipeline.syncOperations)
                    try channel.pipeline.syncOperations.addHandler(Answerer(server: server, deed: deed))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let dialler = try DirectoryDialler(directoryKey: network.directoryKey, credentials: credentials)
        let connection = try await dialler.connect(
            host: "127.0.0.1", port: network.directory.port, on: MultiThreadedEventLoopGroup.singleton.next())
        let port = UInt16(clamping: self.listener.localAddress?.port ?? 0)
        _ = try await connection.register(try self.descriptor(port: port).signed(by: self.identity))
        self.connection.withLockedValue { $0 = connection }
    }

    func descriptor(port: UInt16, sequence: UInt64 = 1) -> RouterDescriptor {
        let now = UInt64(Date().timeIntervalSince1970)
        return RouterDescriptor(
            identity: self.identity.publicKey, linkKey: self.linkKey.publicKey, onionKey: self.onionKey.publicKey,
            onionKeyValidUntil: now + 3600, published: now, sequence: sequence,
            addresses: [Endpoint(address: .v4(0x7f00_0001), port: port)], nickname: "Hostile")
    }

    func does(_ deed: Deed) { self.deed.withLockedValue { $0 = deed } }

    func stop() async {
        await self.connection.withLockedValue { $0 }?.close()
        try? await self.listener.close().get()
    }

    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let server: CircuitHandshake.Server
        private let deed: NIOLockedValueBox<Deed>
        private var received = ByteBuffer()

        init(server: CircuitHandshake.Server, deed: NIOLockedValueBox<Deed>) {
            self.server = server
            self.deed = deed
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = self.unwrapInboundIn(data)
            self.received.writeBuffer(&bytes)
            while let cell = self.received.readBytes(length: Cell.byteCount) { self.take(cell, context) }
        }

        private func take(_ cell: [UInt8], _ context: ChannelHandlerContext) {
            let id = cell[..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            switch CellCommand(rawValue: cell[4]) {
            case .netInfo: self.say([HostileLink.cell(0, CellCommand.netInfo.rawValue, [])], context)
            case .ping: self.say([HostileLink.cell(0, CellCommand.pong.rawValue, [UInt8](cell[5..<13]))], context)
            case .create:
                let create = [UInt8](cell[5..<5 + CircuitHandshake.createByteCount])
                guard let created = try? self.server.respond(to: create).created else { return }
                switch self.deed.withLockedValue({ $0 }) {
                case .answer: self.say([HostileLink.cell(id, CellCommand.created.rawValue, created)], context)
                case .cells(let make):
                    self.say(make(created).map { HostileLink.cell(id, $0.command.rawValue, $0.body) }, context)
                }
            default: break
            }
        }

        private func say(_ cells: [[UInt8]], _ context: ChannelHandlerContext) {
            context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: cells.joined())), promise: nil)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
