internal import Foundation
internal import NIOCore
internal import NIOPosix

/// Asks a running proxy one thing over its ``StatusSocket``.
struct StatusConnection {
    let channel: any Channel
    /// The line that it answered.
    let line: String
    let path: String

    /// Send a line, and wait for the answer.
    ///
    /// - Parameters:
    ///   - patience: how long the proxy may take.
    ///   - staysOpen: whether the connection goes on after the answer; what comes behind it is then in ``AnswerHandler``.
    /// - Throws: ``ProxyError``: no proxy runs there, it may not be asked, it does not answer.
    static func ask(
        _ command: String, stateDirectory: String, patience: TimeAmount = .seconds(5), staysOpen: Bool = false
    ) async throws -> StatusConnection {
        let path = try StatusSocket.path(stateDirectory: stateDirectory)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let answer = loop.makePromise(of: String.self)
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: loop)
                .connectTimeout(patience)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            AnswerHandler(answer: answer, patience: patience, staysOpen: staysOpen))
                    }
                }
                .connect(unixDomainSocketPath: path).get()
            channel.writeAndFlush(ByteBuffer(string: "\(command)\n"), promise: nil)
        } catch {
            answer.fail(error)
            _ = try? await answer.futureResult.get()
            switch (error as? IOError)?.errnoCode {
            case ENOENT, ECONNREFUSED, ENOTDIR: throw ProxyError.notRunning(stateDirectory: stateDirectory)
            case .some(let code):
                throw ProxyError.statusRefused(path: path, reason: String(cString: strerror(code)))
            case nil: throw ProxyError.statusUnreadable(path: path, reason: "\(error)")
            }
        }
        do {
            return StatusConnection(channel: channel, line: try await answer.futureResult.get(), path: path)
        } catch {
            throw ProxyError.statusUnreadable(
                path: path, reason: "no answer within \(patience.nanoseconds / 1_000_000_000) s")
        }
    }

    /// Read the answer.
    func decode<Answer: Decodable>(_ type: Answer.Type) throws(ProxyError) -> Answer {
        do {
            return try JSONDecoder().decode(type, from: Data(self.line.utf8))
        } catch {
            throw self.unreadable
        }
    }

    var unreadable: ProxyError { .statusUnreadable(path: self.path, reason: "it answered: \(self.line.prefix(200))") }
}

/// Collects one line, or fails when the channel closes first or time is up. What comes behind the line goes on through the
/// pipeline once the handler is removed.
final class AnswerHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let answer: EventLoopPromise<String>
    private let patience: TimeAmount
    private let staysOpen: Bool
    private var isAnswered = false
    private var isInputOver = false
    private var received = ByteBuffer()
    private var timer: Scheduled<Void>?

    init(answer: EventLoopPromise<String>, patience: TimeAmount, staysOpen: Bool) {
        self.answer = answer
        self.patience = patience
        self.staysOpen = staysOpen
    }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: self.patience) { bound.value.close(promise: nil) }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.received.writeImmutableBuffer(Self.unwrapInboundIn(data))
        guard !self.isAnswered else { return }
        if let end = self.received.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
            self.isAnswered = true
            self.timer?.cancel()
            let line = self.received.readSlice(length: end - self.received.readerIndex + 1)
            self.answer.succeed(String(decoding: (line ?? ByteBuffer()).readableBytesView.dropLast(), as: UTF8.self))
            if !self.staysOpen { context.close(promise: nil) }
        } else if self.received.readableBytes > StatusSocket.maximumAnswerByteCount {
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.isInputOver = true
        // After a success this does nothing.
        self.answer.fail(ChannelError.eof)
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        guard !self.isInputOver, self.received.readableBytes > 0 else { return }
        context.fireChannelRead(Self.wrapInboundOut(self.received))
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

@available(*, unavailable)
extension AnswerHandler: Sendable {}
