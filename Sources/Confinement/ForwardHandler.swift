internal import NIOCore
internal import NIOPosix

/// One half of a forwarded connection: writes to its partner's channel what its own brings, no faster than that takes it, and
/// does there what happens here: half-close, close, reset.
final class ForwardHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let channel: any Channel
    private let partner: any Channel
    private weak var other: ForwardHandler?
    private var isInputOver = false
    /// Whether our side closes what goes out by this channel.
    private var isOutputOver = false
    private var isReset = false
    private var waitsForPartner = false

    private init(channel: any Channel, partner: any Channel) {
        self.channel = channel
        self.partner = partner
    }

    /// Make the halves for two channels, which are on one event loop, with `autoRead` off and half-closure allowed.
    static func pair(_ near: any Channel, _ far: any Channel) -> (ForwardHandler, ForwardHandler) {
        let (one, other) = (ForwardHandler(channel: near, partner: far), ForwardHandler(channel: far, partner: near))
        one.other = other
        other.other = one
        return (one, other)
    }

    func handlerAdded(context: ChannelHandlerContext) { if context.channel.isActive { context.read() } }

    func channelActive(context: ChannelHandlerContext) { context.read() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.partner.write(Self.unwrapInboundIn(data), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.partner.flush()
        if self.partner.isWritable { context.read() } else { self.waitsForPartner = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.other?.partnerHasRoom() }
    }

    private func partnerHasRoom() {
        guard self.waitsForPartner else { return }
        self.waitsForPartner = false
        self.channel.read()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .inputClosed = event as? ChannelEvent else { return context.fireUserInboundEventTriggered(event) }
        self.isInputOver = true
        // Not at once: of a reset the end of the input is told first.
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.execute { bound.value.endOutput() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        // A reset that comes while nothing is read is told by no error.
        guard self.isOutputOver else { return self.resetPartner() }
        self.isInputOver = true
        self.other?.isInputOver = true
        self.endOutput()
    }

    /// Close the partner's output once it has what was written; all of it when its input is over as well.
    private func endOutput() {
        guard !self.isReset else { return }
        let isAll = self.other?.isInputOver ?? true
        self.other?.isOutputOver = true
        let partner = self.partner
        partner.writeAndFlush(ByteBuffer()).whenComplete { _ in
            partner.close(mode: isAll ? .all : .output, promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.resetPartner()
        context.close(promise: nil)
    }

    private func resetPartner() {
        self.isReset = true
        self.other?.isOutputOver = true
        Self.resetWhenClosed(self.partner)
        self.partner.close(promise: nil)
    }

    static func resetWhenClosed(_ channel: any Channel) {
        // 0 seconds of linger.
        (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in }
    }
}

@available(*, unavailable)
extension ForwardHandler: Sendable {}
