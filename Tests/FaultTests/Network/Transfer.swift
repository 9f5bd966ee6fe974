import NIOCore

/// What one application asks of one destination: a request, and an answer behind it.
struct Transfer {
    let index: Int
    let startsAfter: TimeAmount
    let requestByteCount: Int
    let responseByteCount: Int
    /// Sent along with Begin; such a request is not repeated.
    let earlyByteCount: Int
    /// Whether the application closes its direction behind the request, and the destination answers only then.
    let halfCloses: Bool
    /// Whether the application reads a little now and then.
    let isSlow: Bool
    let user: Int

    var request: Pattern { Pattern(owner: 2 * self.index) }
    var response: Pattern { Pattern(owner: 2 * self.index + 1) }
}

/// What became of a transfer, as the application sees it.
enum Outcome: Equatable {
    /// All of the answer came, and then the end.
    case complete
    /// No stream came about.
    case refused(String)
    /// The connection broke after so many bytes.
    case reset(Int)
    /// The connection ended in order before all had come: a lie.
    case truncated(Int)
    /// Bytes came that were not sent.
    case corrupt
    /// The application had enough of waiting.
    case impatient
}

/// The application's end of its connection to the proxy.
final class Application: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let transfer: Transfer
    private let onEnd: (Outcome) -> Void
    private var receivedByteCount = 0
    private var isIntact = true
    private var hasEnded = false
    private var isReset = false
    private var isImpatient = false
    private var refusal: String?
    private var patience: Scheduled<Void>?
    private var reading: RepeatedTask?

    /// No transfer needs so long, whatever happens to it.
    static let patienceLimit = TimeAmount.seconds(200)

    init(_ transfer: Transfer, onEnd: @escaping (Outcome) -> Void) {
        self.transfer = transfer
        self.onEnd = onEnd
    }

    /// The proxy says that there will be no stream.
    func refused(_ reason: String) { self.refusal = reason }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.patience = context.eventLoop.scheduleTask(in: Self.patienceLimit) {
            bound.value.0.isImpatient = true
            (bound.value.1.channel as? SimulatedChannel)?.abort()
        }
        if self.transfer.isSlow {
            self.reading = context.eventLoop.scheduleRepeatedTask(
                initialDelay: .milliseconds(50), delay: .milliseconds(50)
            ) { _ in bound.value.1.read() }
        }
        let rest = self.transfer.requestByteCount - self.transfer.earlyByteCount
        if rest > 0 {
            context.writeAndFlush(
                self.wrapOutboundOut(self.transfer.request.buffer(from: self.transfer.earlyByteCount, count: rest)),
                promise: nil)
        }
        if self.transfer.halfCloses { context.channel.close(mode: .output, promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        if !self.transfer.response.matches(bytes, at: self.receivedByteCount) { self.isIntact = false }
        self.receivedByteCount += bytes.readableBytes
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .inputClosed = event as? ChannelEvent else { return }
        self.hasEnded = true
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.isReset = true }

    func channelInactive(context: ChannelHandlerContext) {
        self.patience?.cancel()
        self.reading?.cancel()
        self.onEnd(self.outcome)
    }

    private var outcome: Outcome {
        if !self.isIntact || self.receivedByteCount > self.transfer.responseByteCount { return .corrupt }
        if self.isImpatient { return .impatient }
        if let refusal { return .refused(refusal) }
        if self.isReset { return .reset(self.receivedByteCount) }
        return self.receivedByteCount == self.transfer.responseByteCount
            ? .complete : .truncated(self.receivedByteCount)
    }
}

/// Keeps what the application says before there is a stream, as a proxy does.
final class Waiter: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private var context: ChannelHandlerContext?
    private var bytes = ByteBuffer()
    private var isInputClosed = false
    private var isOver = false

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if self.isOver { return context.fireChannelRead(data) }
        self.bytes.writeImmutableBuffer(self.unwrapInboundIn(data))
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if self.isOver { context.fireChannelReadComplete() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if self.isOver { return context.fireUserInboundEventTriggered(event) }
        if case .inputClosed = event as? ChannelEvent { self.isInputClosed = true }
    }

    /// The stream's edge is behind this now.
    func handOver() {
        self.isOver = true
        guard let context else { return }
        if self.bytes.readableBytes > 0 {
            context.fireChannelRead(NIOAny(self.bytes))
            context.fireChannelReadComplete()
        }
        if self.isInputClosed { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
    }
}

/// The destination's end of the exit's connection.
final class Destination: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let transfer: Transfer
    private let onLie: (String) -> Void
    private var receivedByteCount = 0
    private var hasAnswered = false
    private var patience: Scheduled<Void>?

    init(_ transfer: Transfer, onLie: @escaping (String) -> Void) {
        self.transfer = transfer
        self.onLie = onLie
    }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.patience = context.eventLoop.scheduleTask(in: Application.patienceLimit + .seconds(100)) {
            (bound.value.channel as? SimulatedChannel)?.abort()
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        if !self.transfer.request.matches(bytes, at: self.receivedByteCount) {
            self.onLie("request \(self.transfer.index) came other than it was sent")
        }
        self.receivedByteCount += bytes.readableBytes
        if !self.transfer.halfCloses { self.answerIfDue(context) }
    }

    private func answerIfDue(_ context: ChannelHandlerContext) {
        guard !self.hasAnswered, self.receivedByteCount == self.transfer.requestByteCount else { return }
        self.hasAnswered = true
        let channel = context.channel
        let written = context.eventLoop.makePromise(of: Void.self)
        // Not before: with the input closed this closes the channel at once.
        written.futureResult.whenSuccess { channel.close(mode: .output, promise: nil) }
        context.writeAndFlush(
            self.wrapOutboundOut(self.transfer.response.buffer(from: 0, count: self.transfer.responseByteCount)),
            promise: written)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .inputClosed = event as? ChannelEvent else { return }
        if self.receivedByteCount != self.transfer.requestByteCount {
            self.onLie("request \(self.transfer.index) ended in order after \(self.receivedByteCount) bytes")
        }
        if self.transfer.halfCloses, !self.hasAnswered { return self.answerIfDue(context) }
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { self.patience?.cancel() }

    /// A reset is what it is.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

@available(*, unavailable)
extension Application: Sendable {}

@available(*, unavailable)
extension Destination: Sendable {}

@available(*, unavailable)
extension Waiter: Sendable {}
