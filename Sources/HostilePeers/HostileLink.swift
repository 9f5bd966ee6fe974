import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix
import NIOTLS
package import OnionAddress
package import OnionCells
import OnionCrypto
package import OnionDirectory
package import OnionLink

/// A link to a router in an attacker's hands: proper TLS, and then whatever bytes it likes.
package final class HostileLink: Sendable {
    /// What the attacker keeps of the rules.
    package struct Manners: Sendable {
        package var saysNetInfo: Bool
        package var answersPings: Bool
        package var reads: Bool

        package init(saysNetInfo: Bool = true, answersPings: Bool = true, reads: Bool = true) {
            self.saysNetInfo = saysNetInfo
            self.answersPings = answersPings
            self.reads = reads
        }
    }

    private struct State: Sendable {
        var isSecure = false
        var isClosed = false
        var cells: [[UInt8]] = []
    }

    package let channel: any Channel
    private let state: NIOLockedValueBox<State>

    private init(channel: any Channel, state: NIOLockedValueBox<State>) {
        self.channel = channel
        self.state = state
    }

    /// Connect, and return once TLS is up.
    ///
    /// - Parameter source: the address of this machine that it comes from.
    /// - Throws: ``PeerError/noLink(_:)`` if the router closes it before.
    package static func dial(
        _ router: ConsensusRouter, from source: IPAddress = Stranger.anybody(), credentials: LinkCredentials? = nil,
        manners: Manners = Manners()
    ) async throws -> HostileLink {
        let state = NIOLockedValueBox(State())
        let tls = try LinkTLS(credentials: credentials, protocol: .link)
        guard let endpoint = router.addresses.first else { throw PeerError.notListed }
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addClientHandlers(
                        to: channel.pipeline.syncOperations, expecting: router.linkKey)
                    try channel.pipeline.syncOperations.addHandler(Collector(state: state, manners: manners))
                }
            }
            .bind(to: SocketAddress(Endpoint(address: source, port: 0)))
            .connect(to: SocketAddress(endpoint)).get()
        let link = HostileLink(channel: channel, state: state)
        try await Wait.until("TLS is up") { state.withLockedValue { $0.isSecure || $0.isClosed } }
        guard state.withLockedValue({ $0.isSecure }) else { throw PeerError.noLink(router.nickname) }
        if !manners.reads { try await channel.setOption(.autoRead, value: false).get() }
        return link
    }

    package var isClosed: Bool { self.state.withLockedValue { $0.isClosed } }

    package func send(_ bytes: [UInt8]) { self.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    /// Send and wait until the bytes have left; false when they do not within the time, or never will.
    package func sendAndWait(_ bytes: [UInt8], seconds: Double) async -> Bool {
        let hasLeft = NIOLockedValueBox<Bool?>(nil)
        self.channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenComplete { result in
            let isSuccess = if case .success = result { true } else { false }
            hasLeft.withLockedValue { $0 = isSuccess }
        }
        try? await Wait.until("written", seconds: seconds) { hasLeft.withLockedValue { $0 != nil } }
        return hasLeft.withLockedValue { $0 } ?? false
    }

    package func send(_ id: UInt32, _ command: UInt8, _ body: [UInt8]) { self.send(Self.cell(id, command, body)) }

    package static func cell(_ id: UInt32, _ command: UInt8, _ body: [UInt8]) -> [UInt8] {
        var cell = withUnsafeBytes(of: id.bigEndian) { [UInt8]($0) } + [command] + body
        cell += [UInt8](repeating: 0, count: Cell.byteCount - cell.count)
        return cell
    }

    /// Take the next cell of circuit `id`; nil if the link closes, or nothing comes in time.
    package func next(of id: UInt32, seconds: Double = 10) async -> [UInt8]? {
        let prefix = withUnsafeBytes(of: id.bigEndian) { [UInt8]($0) }
        var found: [UInt8]?
        try? await Wait.until("a cell", seconds: seconds) {
            self.state.withLockedValue { state in
                guard let index = state.cells.firstIndex(where: { $0.starts(with: prefix) }) else {
                    return state.isClosed
                }
                found = state.cells.remove(at: index)
                return true
            }
        }
        return found
    }

    /// Take all cells that have come, and say what they were.
    package func drain() -> [CellCommand?] {
        self.state.withLockedValue { state in
            defer { state.cells = [] }
            return state.cells.map { CellCommand(rawValue: $0[4]) }
        }
    }

    /// Whether a Destroy of circuit `id` has come and has not been taken.
    package func hasDestroy(of id: UInt32) -> Bool {
        let head = withUnsafeBytes(of: id.bigEndian) { [UInt8]($0) } + [CellCommand.destroy.rawValue]
        return self.state.withLockedValue { $0.cells.contains { $0.starts(with: head) } }
    }

    package func close() async { try? await self.channel.close().get() }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let state: NIOLockedValueBox<State>
        private let manners: Manners
        private var received = ByteBuffer()

        init(state: NIOLockedValueBox<State>, manners: Manners) {
            self.state = state
            self.manners = manners
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard case .handshakeCompleted = event as? TLSUserEvent else { return }
            if self.manners.saysNetInfo {
                let hello = HostileLink.cell(0, CellCommand.netInfo.rawValue, [])
                context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: hello)), promise: nil)
            }
            self.state.withLockedValue { $0.isSecure = true }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = self.unwrapInboundIn(data)
            self.received.writeBuffer(&bytes)
            while let cell = self.received.readBytes(length: Cell.byteCount) {
                if cell[4] == CellCommand.ping.rawValue, self.manners.answersPings {
                    let pong = HostileLink.cell(0, CellCommand.pong.rawValue, [UInt8](cell[5..<13]))
                    context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: pong)), promise: nil)
                }
                self.state.withLockedValue { $0.cells.append(cell) }
            }
            self.received.discardReadBytes()
        }

        func channelInactive(context: ChannelHandlerContext) { self.state.withLockedValue { $0.isClosed = true } }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
