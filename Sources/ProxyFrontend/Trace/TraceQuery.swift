internal import NIOCore
internal import OnionClient

/// Has a running proxy open a stream step by step, and goes on over it: TLS, the request, the first byte of the answer.
package enum TraceQuery {
    /// Longer than the proxy takes at its longest: for a circuit, a name and several connections.
    private static let streamPatience = TimeAmount.seconds(90)
    /// How long the server may take for a TLS handshake, and again for its first byte.
    private static let serverPatience = TimeAmount.seconds(30)

    /// Trace a request.
    ///
    /// - Parameters:
    ///   - wish: of the exit, as a user name: `country-se`.
    ///   - certificates: PEM file of authorities to trust besides the system's.
    ///   - stateDirectory: of the running proxy.
    /// - Returns: the trace, which may hold a failure.
    /// - Throws: ``ProxyError``, and what the TLS library says of the file of certificates.
    package static func ask(
        _ url: TraceURL, wish: String?, certificates: String?, stateDirectory: String
    ) async throws -> RequestTrace {
        let tls = url.isTLS ? try TraceTLS(certificates: certificates) : nil
        guard let line = StatusCommand.traceLine(host: url.host, port: url.port, wish: wish) else {
            // A URL's host has no white space, so it is the wish.
            throw ProxyError.statusUnreadable(path: stateDirectory, reason: "a wish is one word, such as country-se")
        }
        let startedAt = NIODeadline.now()
        let connection = try await StatusConnection.ask(
            line, stateDirectory: stateDirectory, patience: Self.streamPatience, staysOpen: true)
        let answer = try connection.decode(TraceAnswer.self)
        var trace = RequestTrace(url: url.text, stream: answer.trace)
        if let failure = answer.failure {
            trace.failure = .init(step: (answer.trace.failedStep ?? .circuit).rawValue, text: failure)
        } else {
            await Self.exchange(url, tls, over: connection.channel, &trace)
        }
        connection.channel.close(promise: nil)
        trace.totalSeconds = Self.seconds(since: startedAt)
        return trace
    }

    /// Speak with the server over a stream that is open.
    private static func exchange(
        _ url: TraceURL, _ tls: TraceTLS?, over channel: any Channel, _ trace: inout RequestTrace
    ) async {
        do {
            if let tls {
                let startedAt = NIODeadline.now()
                try await tls.handshake(with: url, over: channel, patience: Self.serverPatience)
                trace.tlsSeconds = Self.seconds(since: startedAt)
            }
            let answer = channel.eventLoop.makePromise(of: TraceAnswerHandler.Head.self)
            let startedAt = NIODeadline.now()
            do {
                try await channel.eventLoop.submit {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(TraceAnswerHandler(answer: answer, patience: Self.serverPatience))
                    if tls == nil { try Self.removeAnswerHandler(of: channel) }
                }.get()
            } catch {
                answer.fail(error)
            }
            channel.writeAndFlush(ByteBuffer(string: url.request), promise: nil)
            let head = try await answer.futureResult.get()
            trace.firstByteSeconds = Double((head.firstByteAt - startedAt).nanoseconds) / 1e9
            trace.httpStatus = head.status
            if head.status == nil {
                trace.failure = .init(step: "request", text: "The server answered, but not in HTTP.")
            }
        } catch let failure as TraceTLS.Failure {
            trace.failure = .init(step: "tls", text: failure.text)
        } catch {
            let text =
                error is TraceAnswerHandler.TimedOut
                ? "The server sent nothing for \(Self.serverPatience.nanoseconds / 1_000_000_000) s."
                : "The server closed the connection without an answer."
            trace.failure = .init(step: "request", text: text)
        }
    }

    /// Let what comes from now on pass to the handlers behind.
    static func removeAnswerHandler(of channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        pipeline.removeHandler(try pipeline.handler(type: AnswerHandler.self), promise: nil)
    }

    private static func seconds(since start: NIODeadline) -> Double { Double((.now() - start).nanoseconds) / 1e9 }
}

/// Waits for the first byte of an answer, and for its first line.
final class TraceAnswerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    struct Head: Equatable, Sendable {
        var firstByteAt: NIODeadline
        /// nil: the answer does not begin as HTTP does.
        var status: Int?
    }
    struct TimedOut: Error {}

    static let lineLimit = 8192

    private let answer: EventLoopPromise<Head>
    private let patience: TimeAmount
    /// Never more than a byte past the limit.
    private(set) var received = ByteBuffer()
    private var firstByteAt: NIODeadline?
    private var timer: Scheduled<Void>?

    init(answer: EventLoopPromise<Head>, patience: TimeAmount) {
        self.answer = answer
        self.patience = patience
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let answer = self.answer
        self.timer = context.eventLoop.scheduleTask(in: self.patience) { answer.fail(TimedOut()) }
        if !context.channel.isActive { answer.fail(ChannelError.eof) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.timer?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if self.firstByteAt == nil { self.firstByteAt = .now() }
        let room = Self.lineLimit + 1 - self.received.readableBytes
        self.received.writeBytes(Self.unwrapInboundIn(data).readableBytesView.prefix(room))
        self.look(isOver: self.received.readableBytes > Self.lineLimit)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.look(isOver: true)
        self.answer.fail(ChannelError.eof)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.look(isOver: true)
        self.answer.fail(error)
    }

    private func look(isOver: Bool) {
        guard let firstByteAt, isOver || self.received.readableBytesView.contains(UInt8(ascii: "\n")) else { return }
        self.timer?.cancel()
        let line = self.received.readableBytesView.prefix { $0 != UInt8(ascii: "\n") }
        self.answer.succeed(
            Head(firstByteAt: firstByteAt, status: Self.status(line: String(decoding: line, as: UTF8.self))))
    }

    /// The status in `HTTP/1.1 200 OK`; nil in anything else.
    static func status(line: String) -> Int? {
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].hasPrefix("HTTP/") else { return nil }
        return Int(words[1].prefix(3)).flatMap { (100...999).contains($0) ? $0 : nil }
    }
}

@available(*, unavailable)
extension TraceAnswerHandler: Sendable {}
