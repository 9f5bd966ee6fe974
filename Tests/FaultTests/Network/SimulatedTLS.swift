import NIOCore
import NIOTLS
import OnionCrypto

@testable import OnionLink

/// Stands in for TLS on a link: each side says its key, the dialler checks the other's, and then bytes pass as they are.
///
/// The words of the handshake cross the wire as any others, so that faults hit them too.
final class SimulatedTLS: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let linkProtocol: LinkProtocol
    private let isDialler: Bool
    private let ownKey: Ed25519PublicKey?
    /// Whom the dialler wants; nil takes anybody, as who dials a directory does.
    private let expected: Ed25519PublicKey?
    private let peer: PeerKey
    private var greeting = ByteBuffer()
    private var isDone = false

    private static let greetingByteCount = 33

    init(
        _ linkProtocol: LinkProtocol, isDialler: Bool, ownKey: Ed25519PublicKey?, expected: Ed25519PublicKey? = nil,
        peer: PeerKey
    ) {
        self.linkProtocol = linkProtocol
        self.isDialler = isDialler
        self.ownKey = ownKey
        self.expected = expected
        self.peer = peer
    }

    private func greet(_ context: ChannelHandlerContext) {
        var bytes = ByteBuffer(integer: UInt8(self.ownKey == nil ? 0 : 1))
        bytes.writeBytes(self.ownKey?.rawBytes ?? [UInt8](repeating: 0, count: Self.greetingByteCount - 1))
        context.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
    }

    func channelActive(context: ChannelHandlerContext) {
        if self.isDialler { self.greet(context) }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isDone else { return context.fireChannelRead(data) }
        self.greeting.writeImmutableBuffer(self.unwrapInboundIn(data))
        guard let flag = self.greeting.getInteger(at: self.greeting.readerIndex, as: UInt8.self),
            let bytes = self.greeting.getBytes(
                at: self.greeting.readerIndex + 1, length: Self.greetingByteCount - 1)
        else { return }
        self.greeting.moveReaderIndex(forwardBy: Self.greetingByteCount)
        self.peer.publicKey = flag == 1 ? Ed25519PublicKey(rawBytes: bytes) : nil
        if let expected = self.expected, self.peer.publicKey != expected {
            context.fireErrorCaught(LinkError.wrongProtocol)
            return context.close(promise: nil)
        }
        self.isDone = true
        if !self.isDialler { self.greet(context) }
        context.fireUserInboundEventTriggered(
            TLSUserEvent.handshakeCompleted(negotiatedProtocol: self.linkProtocol.rawValue))
        if self.greeting.readableBytes > 0 { context.fireChannelRead(self.wrapInboundOut(self.greeting)) }
    }

    typealias InboundOut = ByteBuffer
}

@available(*, unavailable)
extension SimulatedTLS: Sendable {}
