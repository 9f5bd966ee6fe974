internal import Foundation
internal import NIOCore
internal import OnionClient

/// One question on the ``StatusSocket`` and its answer. On the client's event loop, with `autoRead` off.
///
///     reading ── line ──▶ answering ── answer sent ──▶ closed
///                             └─ answer to a trace sent ──▶ handed over: the stream's own handler is behind this one
final class StatusServerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How long somebody may take to ask, and to read the answer.
    static let patience = TimeAmount.seconds(5)

    private enum State {
        case reading(ByteBuffer)
        case answering
        case handedOver
    }
    private struct Failure: Encodable { var error: String }
    private struct Done: Encodable { var done: String }

    private let services: StatusServices
    private var state = State.reading(ByteBuffer())
    private var timer: Scheduled<Void>?

    init(services: StatusServices) { self.services = services }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: Self.patience) { bound.value.close(promise: nil) }
        context.read()
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.state {
        case .handedOver: context.fireChannelRead(data)
        // Nothing more is asked for, but what is there when the other side closes comes all the same.
        case .answering: break
        case .reading(var received):
            received.writeImmutableBuffer(Self.unwrapInboundIn(data))
            guard let end = received.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) else {
                self.state = .reading(received)
                if received.readableBytes > StatusSocket.maximumCommandByteCount { context.close(promise: nil) }
                return
            }
            self.state = .answering
            self.answer(String(decoding: received.readableBytesView[..<end], as: UTF8.self), context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        switch self.state {
        case .reading: context.read()
        case .answering: break
        case .handedOver: context.fireChannelReadComplete()
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch self.state {
        case .reading, .answering: context.close(promise: nil)
        case .handedOver: context.fireErrorCaught(error)
        }
    }

    private func answer(_ line: String, _ context: ChannelHandlerContext) {
        switch StatusCommand(line: line) {
        case .status:
            self.services.status().hop(to: context.eventLoop).assumeIsolated().whenComplete { result in
                switch result {
                case .success(let status): self.sendAndClose(status, context)
                case .failure(let error): self.sendAndClose(Failure(error: "\(error)"), context)
                }
            }
        case .newIdentity:
            self.services.newIdentity()
            self.sendAndClose(Done(done: line), context)
        case .trace(let host, let port, let exit): self.trace(host, port, exit, context)
        case nil: self.sendAndClose(Failure(error: "unknown command"), context)
        }
    }

    private func trace(_ host: String, _ port: UInt16, _ exit: ExitWish, _ context: ChannelHandlerContext) {
        // The client has a patience of its own.
        self.timer?.cancel()
        let request = StreamRequest(
            host: host, port: port,
            // Nobody else's, and no other trace's: it says nothing of what programs do.
            isolation: IsolationKey(protocolName: "trace", destination: UUID().uuidString), exit: exit)
        self.services.trace(request).hop(to: context.eventLoop).assumeIsolated().whenComplete { result in
            switch result {
            case .success(let traced): self.traced(traced, context)
            case .failure(let error): self.sendAndClose(Failure(error: "\(error)"), context)
            }
        }
    }

    private func traced(_ traced: TracedStream, _ context: ChannelHandlerContext) {
        switch traced.result {
        case .failure(let failure):
            self.sendAndClose(TraceAnswer(trace: traced.trace, failure: HTTPReply(failure).text), context)
        case .success(let stream):
            guard context.channel.isActive,
                let line = Self.line(TraceAnswer(trace: traced.trace, failure: nil), context)
            else {
                stream.discard()
                return context.close(promise: nil)
            }
            context.writeAndFlush(Self.wrapOutboundOut(line), promise: nil)
            self.state = .handedOver
            stream.attach(to: context.channel).hop(to: context.eventLoop).assumeIsolated().whenFailure { _ in
                context.close(promise: nil)
            }
        }
    }

    private func sendAndClose(_ answer: some Encodable, _ context: ChannelHandlerContext) {
        guard let line = Self.line(answer, context) else { return context.close(promise: nil) }
        context.writeAndFlush(Self.wrapOutboundOut(line)).assumeIsolated().whenComplete { _ in
            context.close(promise: nil)
        }
    }

    private static func line(_ answer: some Encodable, _ context: ChannelHandlerContext) -> ByteBuffer? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(answer) else { return nil }
        var line = context.channel.allocator.buffer(capacity: json.count + 1)
        line.writeBytes(json)
        line.writeInteger(UInt8(ascii: "\n"))
        return line
    }
}

@available(*, unavailable)
extension StatusServerHandler: Sendable {}
