internal import Foundation
internal import NIOCore
internal import NIOPosix
package import OnionClient

/// Asks a running proxy for its status, or for a new identity, over the ``StatusSocket``.
package enum StatusQuery {
    private static let patience = TimeAmount.seconds(5)

    /// Ask the proxy of a state directory.
    ///
    /// - Returns: the status, and the JSON line it came as.
    /// - Throws: ``ProxyError``: no proxy runs there, it may not be asked, it does not answer.
    package static func ask(stateDirectory: String) async throws -> (status: ClientStatus, json: String) {
        let path = try StatusSocket.path(stateDirectory: stateDirectory)
        let line = try await Self.line(StatusSocket.statusCommand, path, stateDirectory)
        do {
            return (try JSONDecoder().decode(ClientStatus.self, from: Data(line.utf8)), line)
        } catch {
            throw ProxyError.statusUnreadable(path: path, reason: "it answered: \(line.prefix(200))")
        }
    }

    /// Let no circuit of now carry new streams.
    ///
    /// - Throws: ``ProxyError``, as ``ask(stateDirectory:)`` does.
    package static func newIdentity(stateDirectory: String) async throws {
        let path = try StatusSocket.path(stateDirectory: stateDirectory)
        let line = try await Self.line(StatusSocket.newIdentityCommand, path, stateDirectory)
        guard line.contains("\"done\"") else {
            throw ProxyError.statusUnreadable(path: path, reason: "it answered: \(line.prefix(200))")
        }
    }

    private static func line(_ command: String, _ path: String, _ stateDirectory: String) async throws -> String {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let answer = loop.makePromise(of: String.self)
        do {
            let channel = try await ClientBootstrap(group: loop)
                .connectTimeout(Self.patience)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            AnswerHandler(answer: answer, patience: Self.patience))
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
            return try await answer.futureResult.get()
        } catch {
            throw ProxyError.statusUnreadable(
                path: path, reason: "no answer within \(Self.patience.nanoseconds / 1_000_000_000) s")
        }
    }
}

/// Collects one line, or fails when the channel closes first or time is up.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let answer: EventLoopPromise<String>
    private let patience: TimeAmount
    private var received = ByteBuffer()
    private var timer: Scheduled<Void>?

    init(answer: EventLoopPromise<String>, patience: TimeAmount) {
        self.answer = answer
        self.patience = patience
    }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: self.patience) { bound.value.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.received.writeImmutableBuffer(Self.unwrapInboundIn(data))
        if let end = self.received.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
            self.answer.succeed(String(decoding: self.received.readableBytesView[..<end], as: UTF8.self))
            context.close(promise: nil)
        } else if self.received.readableBytes > StatusSocket.maximumAnswerByteCount {
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        // After a success this does nothing.
        self.answer.fail(ChannelError.eof)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
