package import NIOCore
import NIOPosix
package import OnionCrypto
package import OnionLink

/// Opens connections to one directory server, and makes sure that it is that one.
///
/// - Source: DESIGN §9: the dialler cannot know the directory's link key beforehand; the Hello vouches for it.
package struct DirectoryDialler: Sendable {
    /// For TCP, TLS and Hello together.
    package static let timeLimit = TimeAmount.seconds(10)

    private let directoryKey: Ed25519PublicKey
    private let tls: LinkTLS

    /// - Parameter credentials: an OR's, which it needs to register; nil for a proxy.
    /// - Throws: what the TLS library says.
    package init(directoryKey: Ed25519PublicKey, credentials: LinkCredentials?) throws {
        self.directoryKey = directoryKey
        self.tls = try LinkTLS(credentials: credentials, protocol: .directory)
    }

    /// Connect over TCP.
    ///
    /// - Returns: a connection whose directory has been verified.
    /// - Throws: ``DirectoryConnectionError``.
    package func connect(
        host: String, port: UInt16, on eventLoop: any EventLoop, timeLimit: TimeAmount = Self.timeLimit
    ) async throws -> DirectoryConnection {
        try await self.connect(host: host, port: port, on: eventLoop, timeLimit: timeLimit, resolver: nil)
    }

    /// The same with another resolver than the system's.
    ///
    /// A name may have several addresses. Each that is tried is a channel of its own, and all but one come to nothing: only
    /// the handler of the channel that won says whether the directory has opened.
    func connect(
        host: String, port: UInt16, on eventLoop: any EventLoop, timeLimit: TimeAmount,
        resolver: (any Resolver & Sendable)?
    ) async throws -> DirectoryConnection {
        let deadline = NIODeadline.now() + timeLimit
        let (channel, opened): (any Channel, EventLoopFuture<Void>)
        do {
            (channel, opened) = try await ClientBootstrap(group: eventLoop)
                .resolver(resolver)
                .connectTimeout(timeLimit)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { _ = try self.addHandlers(channel, deadline) }
                }
                .connect(host: host, port: Int(port))
                .flatMapThrowing { channel in
                    let handler = try channel.pipeline.syncOperations.handler(type: DirectoryClientHandler.self)
                    return (channel, handler.openedFuture)
                }
                .get()
        } catch {
            throw DirectoryConnectionError.unreachable(why: Self.reason(error))
        }
        return try await self.connection(channel, opened)
    }

    /// Speak over a channel that is connected already, such as one end of a stream through a circuit.
    ///
    /// The channel is the connection's from here on, and is closed with it, also when this throws.
    ///
    /// - Throws: ``DirectoryConnectionError``.
    package func open(
        over channel: any Channel, timeLimit: TimeAmount = Self.timeLimit
    ) async throws -> DirectoryConnection {
        let deadline = NIODeadline.now() + timeLimit
        let opened: EventLoopFuture<Void>
        do {
            opened = try await channel.eventLoop.submit { try self.addHandlers(channel, deadline) }.get()
        } catch {
            channel.close(promise: nil)
            throw DirectoryConnectionError.unreachable(why: DirectoryConnectionError.words(error))
        }
        return try await self.connection(channel, opened)
    }

    /// - Returns: whether the directory opens: succeeds, or fails and closes the channel.
    private func addHandlers(_ channel: any Channel, _ deadline: NIODeadline) throws -> EventLoopFuture<Void> {
        let pipeline = channel.pipeline.syncOperations
        // First, because TLS on a channel that is active starts as soon as its handler is there.
        let peer = try self.tls.addClientHandlers(to: pipeline, expecting: nil)
        let opened = channel.eventLoop.makePromise(of: Void.self)
        do {
            try pipeline.addHandler(
                DirectoryClientHandler(
                    peer: peer, directoryKey: self.directoryKey, opened: opened, timeLimit: deadline - .now()))
        } catch {
            opened.fail(error)
            throw error
        }
        return opened.futureResult
    }

    private func connection(_ channel: any Channel, _ opened: EventLoopFuture<Void>) async throws
        -> DirectoryConnection
    {
        try await withTaskCancellationHandler {
            try await opened.get()
        } onCancel: {
            channel.close(promise: nil)
        }
        return DirectoryConnection(channel: channel, directoryKey: self.directoryKey)
    }

    private static func reason(_ error: any Error) -> String {
        guard let error = error as? NIOConnectionError else { return DirectoryConnectionError.words(error) }
        if let failure = error.connectionErrors.first { return DirectoryConnectionError.words(failure.error) }
        return "no address found for \(error.host)"
    }
}
