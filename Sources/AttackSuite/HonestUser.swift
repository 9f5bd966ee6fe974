import Glibc
import HostilePeers
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
package import OnionAddress

/// Somebody who uses the network as it is meant to be used: by SOCKS5, through a proxy.
package struct HonestUser: Sendable {
    let proxy: Endpoint

    package init(proxy: Endpoint) { self.proxy = proxy }

    /// Send a request through the network and see that the answer comes.
    ///
    /// - Throws: ``PeerError``
    package func checkService(seconds: Double = 20) async throws {
        try await LoopbackServer.echoing { port in
            let connection = try await self.open(port: port, name: "honest", seconds: seconds)
            let request = Array("an honest request".utf8)
            connection.send(request)
            try? await Wait.until("the answer to an honest request", seconds: seconds) {
                connection.received.count >= request.count || connection.isClosed
            }
            await connection.close()
            guard connection.received == request else { throw PeerError.noService("no answer through the proxy") }
        }
    }

    /// Download for a while from a destination that sends for ever, and return how many bytes a second came.
    func speed(seconds: Double) async throws -> Double {
        try await LoopbackServer.serving(.source) { port, _ in
            let connection = try await self.open(port: port, name: "speed", keeps: false)
            // What is under way does not count, and neither does the window's growth.
            try await Task.sleep(for: .milliseconds(300))
            let start = ContinuousClock.now
            let before = connection.byteCount
            try await Task.sleep(for: .milliseconds(Int64(seconds * 1000)))
            let byteCount = connection.byteCount - before
            let elapsed = (ContinuousClock.now - start) / .seconds(1)
            await connection.close()
            guard !connection.isBroken else { throw PeerError.noService("the download broke off") }
            return Double(byteCount) / elapsed
        }
    }

    /// Open a stream to loopback.
    ///
    /// - Parameters:
    ///   - name: streams of different names share no circuit.
    ///   - keeps: whether what comes is kept, or only counted.
    func open(
        port: UInt16, name: String, keeps: Bool = true, reads: Bool = true, seconds: Double = 20
    ) async throws -> UserConnection {
        let connection = try await UserConnection.connect(to: self.proxy, keeps: keeps)
        let user = Array(name.utf8.prefix(255))
        let greeting: [UInt8] = [5, 1, 2, 1, UInt8(user.count)] + user + [1, 0x2d]
        connection.send(greeting + [5, 1, 0, 1, 127, 0, 0, 1, UInt8(port >> 8), UInt8(port & 255)])
        try? await Wait.until("the proxy's reply", seconds: seconds) {
            connection.reply != nil || connection.isClosed
        }
        guard connection.reply == 0 else {
            await connection.close()
            throw PeerError.noService("the proxy's reply is \(connection.reply.map { "\($0)" } ?? "none")")
        }
        if !reads { try await connection.stopReading() }
        return connection
    }
}

/// One connection to a proxy.
final class UserConnection: Sendable {
    private struct State {
        var head: [UInt8] = []
        var reply: UInt8?
        var received: [UInt8] = []
        var byteCount = 0
        var isClosed = false
        var isReset = false
        var hasClosed = false
    }

    let channel: any Channel
    private let state: NIOLockedValueBox<State>

    private init(channel: any Channel, state: NIOLockedValueBox<State>) {
        self.channel = channel
        self.state = state
    }

    static func connect(to proxy: Endpoint, keeps: Bool) async throws -> UserConnection {
        let state = NIOLockedValueBox(State())
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Receiver(state, keeps: keeps))
                }
            }
            .connect(to: SocketAddress(proxy)).get()
        return UserConnection(channel: channel, state: state)
    }

    /// The reply to the request for a stream, by its SOCKS number.
    var reply: UInt8? { self.state.withLockedValue { $0.reply } }
    var received: [UInt8] { self.state.withLockedValue { $0.received } }
    var byteCount: Int { self.state.withLockedValue { $0.byteCount } }
    var isClosed: Bool { self.state.withLockedValue { $0.isClosed } }
    /// Whether it was closed, and not by us.
    var isBroken: Bool { self.state.withLockedValue { $0.isClosed && !$0.hasClosed } }

    /// Whether the other side has reset it.
    var isReset: Bool { self.state.withLockedValue { $0.isReset } }

    func send(_ bytes: [UInt8]) { self.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    func stopReading() async throws { try await self.channel.setOption(.autoRead, value: false).get() }

    func close() async {
        self.state.withLockedValue { $0.hasClosed = !$0.isClosed }
        try? await self.channel.close().get()
    }

    private final class Receiver: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let state: NIOLockedValueBox<State>
        private let keeps: Bool

        init(_ state: NIOLockedValueBox<State>, keeps: Bool) {
            self.state = state
            self.keeps = keeps
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = self.unwrapInboundIn(data)
            self.state.withLockedValue { state in
                while state.reply == nil, let byte = bytes.readInteger(as: UInt8.self) {
                    state.head.append(byte)
                    state.reply = Self.reply(in: state.head)
                }
                state.byteCount += bytes.readableBytes
                if self.keeps { state.received += bytes.readableBytesView }
            }
        }

        /// Method and password accepted, then version, reply, 0, address type, address, port.
        private static func reply(in head: [UInt8]) -> UInt8? {
            guard head.count > 7 else { return nil }
            return head.count == 4 + 4 + (head[7] == 4 ? 16 : 4) + 2 ? head[5] : nil
        }

        func channelInactive(context: ChannelHandlerContext) { self.state.withLockedValue { $0.isClosed = true } }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if (error as? IOError)?.errnoCode == ECONNRESET { self.state.withLockedValue { $0.isReset = true } }
            context.close(promise: nil)
        }
    }
}
