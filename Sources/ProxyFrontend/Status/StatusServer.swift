internal import Foundation
package import Logging
package import NIOCore
internal import NIOPosix
package import OnionClient
internal import ServiceLifecycle

/// Answers on the ``StatusSocket``. The caller holds the lock of the state directory, so a socket file that is there is stale.
package struct StatusServer: Service, CustomStringConvertible {
    private let stateDirectory: String
    private let group: any EventLoopGroup
    private let logger: Logger
    private let status: @Sendable () -> EventLoopFuture<ClientStatus>
    private let newIdentity: @Sendable () -> Void

    /// - Parameters:
    ///   - stateDirectory: exists, mode 0700, locked.
    ///   - group: for the socket's channels.
    ///   - logger: gets a warning if the socket cannot be made; the proxy goes on without.
    ///   - status: asks the client.
    ///   - newIdentity: tells the client.
    package init(
        stateDirectory: String, group: any EventLoopGroup, logger: Logger,
        status: @escaping @Sendable () -> EventLoopFuture<ClientStatus>,
        newIdentity: @escaping @Sendable () -> Void
    ) {
        self.stateDirectory = stateDirectory
        self.group = group
        self.logger = logger
        self.status = status
        self.newIdentity = newIdentity
    }

    package var description: String { "status socket" }

    /// Answer until a graceful shutdown, then remove the socket file.
    package func run() async throws {
        do {
            let path = try StatusSocket.path(stateDirectory: self.stateDirectory)
            let channel = try await self.bind(path)
            try? await gracefulShutdown()
            try? await channel.close().get()
            try? FileManager.default.removeItem(atPath: path)
        } catch {
            // The status is a convenience: its lack is told, and nothing else stops.
            self.logger.warning("no status socket", metadata: ["error.code": "\(error)"])
            try? await gracefulShutdown()
        }
    }

    private func bind(_ path: String) async throws -> any Channel {
        let (status, newIdentity) = (self.status, self.newIdentity)
        let channel = try await ServerBootstrap(group: self.group)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        StatusServerHandler(status: status, newIdentity: newIdentity))
                }
            }
            .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
        // Between bind and here the mode is the umask's; the directory keeps others out all the time.
        guard chmod(path, 0o600) == 0 else {
            try? await channel.close().get()
            throw IOError(errnoCode: errno, reason: "chmod")
        }
        return channel
    }
}

/// One question on the ``StatusSocket`` and its answer.
final class StatusServerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How long somebody may stay connected, whatever he does.
    private static let patience = TimeAmount.seconds(5)

    private enum State {
        case reading(ByteBuffer)
        case answering
    }
    private struct Failure: Encodable { var error: String }
    private struct Done: Encodable { var done: String }

    private let status: @Sendable () -> EventLoopFuture<ClientStatus>
    private let newIdentity: @Sendable () -> Void
    private var state = State.reading(ByteBuffer())
    private var timer: Scheduled<Void>?

    init(
        status: @escaping @Sendable () -> EventLoopFuture<ClientStatus>, newIdentity: @escaping @Sendable () -> Void
    ) {
        self.status = status
        self.newIdentity = newIdentity
    }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: Self.patience) { bound.value.close(promise: nil) }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.state {
        case .answering: break
        case .reading(var received):
            received.writeImmutableBuffer(Self.unwrapInboundIn(data))
            guard let end = received.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) else {
                self.state = .reading(received)
                if received.readableBytes > StatusSocket.maximumCommandByteCount { context.close(promise: nil) }
                return
            }
            self.state = .answering
            let command = String(decoding: received.readableBytesView[..<end], as: UTF8.self)
            self.answer(command, context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(_ command: String, _ context: ChannelHandlerContext) {
        switch command {
        case StatusSocket.statusCommand: self.answerStatus(context)
        case StatusSocket.newIdentityCommand:
            self.newIdentity()
            self.send(Done(done: command), context)
        default: self.send(Failure(error: "unknown command"), context)
        }
    }

    private func answerStatus(_ context: ChannelHandlerContext) {
        self.status().hop(to: context.eventLoop).assumeIsolated().whenComplete { result in
            switch result {
            case .success(let status): self.send(status, context)
            case .failure(let error): self.send(Failure(error: "\(error)"), context)
            }
        }
    }

    private func send(_ answer: some Encodable, _ context: ChannelHandlerContext) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(answer) else { return context.close(promise: nil) }
        var line = context.channel.allocator.buffer(capacity: json.count + 1)
        line.writeBytes(json)
        line.writeInteger(UInt8(ascii: "\n"))
        context.writeAndFlush(Self.wrapOutboundOut(line)).assumeIsolated().whenComplete { _ in
            context.close(promise: nil)
        }
    }
}

@available(*, unavailable)
extension StatusServerHandler: Sendable {}
