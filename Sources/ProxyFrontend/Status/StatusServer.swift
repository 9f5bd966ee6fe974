internal import CoreMetrics
internal import Foundation
package import Logging
package import NIOCore
internal import NIOPosix
internal import OnionLink
internal import ServiceLifecycle

/// Answers on the ``StatusSocket``. The caller holds the lock of the state directory, so a socket file that is there is stale.
package struct StatusServer: Service, CustomStringConvertible {
    private let stateDirectory: String
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let services: StatusServices

    /// - Parameters:
    ///   - stateDirectory: exists, mode 0700, locked.
    ///   - eventLoop: the client's: a stream that was traced goes on over the socket's channel.
    ///   - logger: gets a warning if the socket cannot be made; the proxy goes on without.
    ///   - services: who answers.
    package init(stateDirectory: String, eventLoop: any EventLoop, logger: Logger, services: StatusServices) {
        self.stateDirectory = stateDirectory
        self.eventLoop = eventLoop
        self.logger = logger
        self.services = services
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
            self.logger.warning("no status socket", metadata: ["reason": "\(Self.words(error))"])
            try? await gracefulShutdown()
        }
    }

    static func words(_ error: any Error) -> String {
        switch error {
        case ProxyError.statusPathTooLong(let path, let limit):
            "\(path) is longer than the \(limit) bytes that a socket's path may have"
        default: "\(error)"
        }
    }

    /// Questions at one time; one more is closed as soon as it is accepted. A trace goes on for as long as its stream.
    static let connectionCount = 64

    private func bind(_ path: String) async throws -> any Channel {
        let services = self.services
        let metrics = ProxyMetrics()
        let connections = NIOLoopBoundBox.makeBoxSendingValue(ConnectionRegistry(), eventLoop: self.eventLoop)
        let channel = try await ServerBootstrap(group: self.eventLoop)
            .pausingWhenAcceptFails()
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard connections.value.add(channel, limit: Self.connectionCount) else {
                        metrics.statusConnections.increment()
                        throw ChannelError.operationUnsupported
                    }
                    channel.closeFuture.assumeIsolated().whenComplete { _ in connections.value.remove(channel) }
                    try channel.pipeline.syncOperations.addHandler(StatusServerHandler(services: services))
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
