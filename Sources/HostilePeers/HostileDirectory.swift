import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOTLS
package import OnionAddress
package import OnionCrypto
package import OnionDirectory
import OnionLink

/// A directory server in an attacker's hands: it holds the directory key, or pretends to, and answers as it likes.
package final class HostileDirectory: Sendable {
    package enum Reply: Sendable {
        case message(DirectoryMessage)
        /// These bytes, which need be no frame.
        case bytes([UInt8])
        /// These bytes, and then as many more as the peer takes, up to so many.
        case endless([UInt8], byteCount: Int)
        case close
    }

    /// What it does when a peer has said something; `count` is how often it has been told that kind of thing, this time
    /// included.
    package typealias Habit = @Sendable (_ message: DirectoryMessage, _ count: Int) -> [Reply]

    /// What it does when TLS is up.
    package enum Greeting: Sendable {
        case hello
        case replies([Reply])
    }

    package let endpoint: Endpoint
    private let listener: any Channel
    private let counts: NIOLockedValueBox<[DirectoryFrameType: Int]>
    private let traffic: NIOLockedValueBox<Traffic>

    private struct Traffic: Sendable {
        var connectionCount = 0
        var sentByteCount = 0
    }

    /// Listen on loopback.
    package init(key: Ed25519PrivateKey, greeting: Greeting = .hello, _ habit: @escaping Habit) async throws {
        let linkKey = Ed25519PrivateKey()
        let tls = try LinkTLS(credentials: try LinkCredentials(linkKey: linkKey), protocol: .directory)
        let expires = UInt64(Date().timeIntervalSince1970) + 3600
        let hello = try DirectoryHello.make(linkKey: linkKey.publicKey, expires: expires, signedBy: key)
        let counts = NIOLockedValueBox<[DirectoryFrameType: Int]>([:])
        self.counts = counts
        let traffic = NIOLockedValueBox(Traffic())
        self.traffic = traffic
        let first: [Reply] =
            switch greeting {
            case .hello: [.message(.hello(hello.bytes))]
            case .replies(let replies): replies
            }
        self.listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addServerHandlers(to: channel.pipeline.syncOperations)
                    try channel.pipeline.syncOperations.addHandler(
                        Session(first: first, counts: counts, traffic: traffic, habit: habit))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.endpoint = Endpoint(
            address: .v4(0x7f00_0001), port: UInt16(clamping: self.listener.localAddress?.port ?? 0))
    }

    /// How often it was told a kind of thing.
    package func count(of type: DirectoryFrameType) -> Int { self.counts.withLockedValue { $0[type, default: 0] } }

    /// How often TLS came up.
    package var connectionCount: Int { self.traffic.withLockedValue { $0.connectionCount } }

    /// Bytes that are no frame, and of frames that do not end, which the kernel has taken.
    package var sentByteCount: Int { self.traffic.withLockedValue { $0.sentByteCount } }

    package func stop() async { try? await self.listener.close().get() }

    private final class Session: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private static let chunk = ByteBuffer(repeating: 0x54, count: 64 * 1024)
        private let first: [Reply]
        private let counts: NIOLockedValueBox<[DirectoryFrameType: Int]>
        private let traffic: NIOLockedValueBox<Traffic>
        private let habit: Habit
        private var decoder = DirectoryFrameDecoder(receiver: .directory)
        private var endlessByteCount = 0

        init(
            first: [Reply], counts: NIOLockedValueBox<[DirectoryFrameType: Int]>, traffic: NIOLockedValueBox<Traffic>,
            habit: @escaping Habit
        ) {
            self.first = first
            self.counts = counts
            self.traffic = traffic
            self.habit = habit
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard case .handshakeCompleted = event as? TLSUserEvent else { return }
            self.traffic.withLockedValue { $0.connectionCount += 1 }
            self.perform(self.first, context)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.decoder.append(self.unwrapInboundIn(data))
            while let message = try? self.decoder.next() {
                let type = message.frameType
                let count = self.counts.withLockedValue { counts in
                    counts[type, default: 0] += 1
                    return counts[type, default: 0]
                }
                self.perform(self.habit(message, count), context)
            }
        }

        private func perform(_ replies: [Reply], _ context: ChannelHandlerContext) {
            for reply in replies {
                switch reply {
                case .message(let message):
                    var bytes = ByteBuffer()
                    guard (try? message.write(to: &bytes)) != nil else { continue }
                    context.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
                case .bytes(let bytes): self.send(ByteBuffer(bytes: bytes), context)
                case .endless(let bytes, let byteCount):
                    self.send(ByteBuffer(bytes: bytes), context)
                    self.endlessByteCount = byteCount
                    self.pour(context)
                case .close: context.close(promise: nil)
                }
            }
        }

        func channelWritabilityChanged(context: ChannelHandlerContext) { self.pour(context) }

        private func pour(_ context: ChannelHandlerContext) {
            while self.endlessByteCount > 0, context.channel.isActive, context.channel.isWritable {
                self.endlessByteCount -= Self.chunk.readableBytes
                self.send(Self.chunk, context)
            }
        }

        private func send(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
            let traffic = self.traffic
            context.writeAndFlush(self.wrapOutboundOut(bytes)).whenSuccess {
                traffic.withLockedValue { $0.sentByteCount += bytes.readableBytes }
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
