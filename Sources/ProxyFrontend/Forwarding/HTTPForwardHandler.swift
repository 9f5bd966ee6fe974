internal import NIOCore
internal import NIOHTTP1
internal import OnionStreams

/// Turns one request to a proxy into one to the origin: stands between NIOHTTP1's decoder, which takes the program's bytes
/// apart, and the stream's handler, which gets the bytes that the origin is to read. Of the answer only the head gains a field.
/// ``handlers()`` is the whole chain.
///
/// One request a connection: the origin is asked to close, and the program is told so (``AnswerHead``). Of a program
/// that sends another request all the same, as apt does before it has the first answer, nothing goes to this origin, which may
/// not be the right one: once the first answer has come to rest, the connection is closed, and the program asks again.
/// The origin hears the program's own version of HTTP, because its answer is not rewritten: one that knows only 1.0 could not
/// read chunks. A request that cannot be read is answered here, and the origin gets nothing of it.
///
/// - Source: RFC 9110 §7.6; RFC 9112 §3.2, §6, §7.1
final class HTTPForwardHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// `spent`: there was another request.
    private enum State: Equatable { case head, body(isChunked: Bool), finished, spent }
    private var state = State.head
    /// When the answer last moved; nil before its head has come.
    private var answeredAt: NIODeadline?
    private var timer: Scheduled<Void>?
    private var answerHead = AnswerHead()
    /// An answer that has not moved for so long is taken for complete.
    static let answerRest = TimeAmount.seconds(5)

    /// Fields between the program and the proxy alone, besides those that `Connection` names.
    private static let ownFields: Set<String> = [
        "connection", "keep-alive", "te", "trailer", "upgrade", "host", "proxy-authorization", "proxy-authenticate",
        "proxy-connection", "thor-country", "thor-exit", "transfer-encoding",
    ]

    /// What the decoder may hold: of one field of a request it takes no more.
    private static let heldByteLimit = 64 * 1024

    /// Whether no byte that comes from now on is the request's.
    var isRequestOver: Bool {
        switch self.state {
        case .head, .body: false
        case .finished, .spent: true
        }
    }

    /// What stands between a program and the stream's handler, in order.
    static func handlers() -> [any ChannelHandler] {
        let handler = HTTPForwardHandler()
        let decoder = ByteToMessageHandler(
            HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes), maximumBufferSize: Self.heldByteLimit)
        return [ForwardedRequestGate(handler), decoder, handler]
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (Self.unwrapInboundIn(data), self.state) {
        case (.head(let head), .head):
            guard let target = HTTPForwardTarget(head.uri, method: head.method.rawValue) else {
                // The rest of the request may be in the same read.
                self.state = .spent
                return context.close(promise: nil)
            }
            let isChunked = head.headers["transfer-encoding"].contains { $0.lowercased().contains("chunked") }
            self.state = .body(isChunked: isChunked)
            context.fireChannelRead(Self.wrapInboundOut(Self.bytes(head, target, isChunked: isChunked)))
        case (.body(let bytes), .body(let isChunked)):
            guard bytes.readableBytes > 0 else { return }
            context.fireChannelRead(Self.wrapInboundOut(isChunked ? Self.chunk(bytes) : bytes))
        case (.end, .body(let isChunked)):
            self.state = .finished
            // Trailers are a hop's own business, and hardly anybody's.
            if isChunked { context.fireChannelRead(Self.wrapInboundOut(ByteBuffer(string: "0\r\n\r\n"))) }
        case (_, .finished), (_, .spent): self.moreCame(context)
        case (.head, .body), (.body, .head), (.end, .head):
            assertionFailure("the decoder keeps the order")
            context.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ForwardedRequestGate.Event.moreCame: self.moreCame(context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    /// There is something behind the request.
    private func moreCame(_ context: ChannelHandlerContext) {
        guard self.state == .finished else { return }
        self.state = .spent
        self.closeOnceAnswered(context)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard !self.answerHead.isOver else {
            self.answeredAt = context.eventLoop.now
            return context.write(data, promise: promise)
        }
        let bytes = Self.unwrapOutboundIn(data)
        // An empty write asks when all before it have left: nothing more will come.
        let ready = bytes.readableBytes > 0 ? self.answerHead.received(bytes) : self.answerHead.ended()
        if self.answerHead.isOver { self.answeredAt = context.eventLoop.now }
        if ready.readableBytes > 0 || bytes.readableBytes == 0 {
            context.write(Self.wrapOutboundOut(ready), promise: promise)
        } else {
            // The stream's handler writes the rest of the head only once this is written.
            promise?.succeed()
        }
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        let held = self.answerHead.ended()
        if held.readableBytes > 0 {
            context.writeAndFlush(Self.wrapOutboundOut(held), promise: nil)
        }
        context.close(mode: mode, promise: promise)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.timer = nil
    }

    private func closeOnceAnswered(_ context: ChannelHandlerContext) {
        // The program has still to take some of it, and more may wait behind that.
        let count = try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)
        if self.answeredAt != nil, let count, count > 0 {
            self.answeredAt = context.eventLoop.now
        }
        if let answeredAt, context.eventLoop.now - answeredAt >= Self.answerRest { return Self.closeInOrder(context) }
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.answerRest) {
            self.closeOnceAnswered(context)
        }
    }

    /// What was written is an answer, and the end its end.
    private static func closeInOrder(_ context: ChannelHandlerContext) {
        StreamEdge.setReset(false, onClosing: context.channel)
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch self.state {
        case .head where error is HTTPParserError:
            self.state = .finished
            let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
            let written = context.eventLoop.makePromise(of: Void.self)
            written.futureResult.whenComplete { _ in Self.closeInOrder(bound.value) }
            context.writeAndFlush(Self.wrapOutboundOut(HTTPReply.badRequest.bytes), promise: written)
        // What the decoder cannot read must not reach the origin in part: it might read it otherwise.
        case .head, .body: context.fireErrorCaught(error)
        // The program hears the answer that is on its way, and whatever else it sent is nobody's.
        case .finished, .spent:
            guard !(error is HTTPParserError), !(error is ByteToMessageDecoderError),
                !(error is ByteToMessageDecoderError.PayloadTooLargeError)
            else { return }
            context.fireErrorCaught(error)
        }
    }

    private static func bytes(_ head: HTTPRequestHead, _ target: HTTPForwardTarget, isChunked: Bool) -> ByteBuffer {
        // Without its length the origin would read the body as another request.
        let named = head.headers[canonicalForm: "connection"].map { $0.lowercased() }.filter { $0 != "content-length" }
        let version = head.version == .http1_0 && !isChunked ? "HTTP/1.0" : "HTTP/1.1"
        var text = "\(head.method.rawValue) \(target.originForm) \(version)\r\nHost: \(target.authority)\r\n"
        for (name, value) in head.headers {
            let lowered = name.lowercased()
            if !Self.ownFields.contains(lowered), !named.contains(lowered) { text += "\(name): \(value)\r\n" }
        }
        if isChunked {
            // The chunks are made anew here; what was done to the body before them is the origin's to undo.
            let others = head.headers[canonicalForm: "transfer-encoding"].filter { $0.lowercased() != "chunked" }
            text += "Transfer-Encoding: \((others + ["chunked"]).joined(separator: ", "))\r\n"
        }
        text += "Connection: close\r\n\r\n"
        return ByteBuffer(string: text)
    }

    private static func chunk(_ bytes: ByteBuffer) -> ByteBuffer {
        var chunk = ByteBuffer(string: "\(String(bytes.readableBytes, radix: 16))\r\n")
        chunk.writeImmutableBuffer(bytes)
        chunk.writeString("\r\n")
        return chunk
    }
}

@available(*, unavailable)
extension HTTPForwardHandler: Sendable {}
