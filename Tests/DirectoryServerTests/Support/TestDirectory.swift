import DirectoryClient
import Foundation
import Logging
import NIOCore
import NIOPosix
import NIOTLS
import OnionCrypto
import OnionDirectory
import OnionLink
import TestSupport

@testable import DirectoryServer

/// A directory server on loopback, and ways to reach it.
struct TestDirectory: Sendable {
    let directoryKey: Ed25519PrivateKey
    let port: UInt16
    let group: any EventLoopGroup

    /// Run a server while `body` runs; then stop it.
    static func with<R: Sendable>(
        key: Ed25519PrivateKey = Ed25519PrivateKey(), state: TemporaryDirectory? = nil,
        routers: DirectoryServer.RouterSource = .anyone,
        change: (inout DirectoryServer.Configuration) -> Void = { _ in }, probing: (any RouterProbing)? = nil,
        logged: @escaping @Sendable (Logger.Level, String) -> Void = { _, _ in },
        _ body: @Sendable @escaping (TestDirectory) async throws -> R
    ) async throws -> R {
        let state = try state ?? TemporaryDirectory()
        defer { withExtendedLifetime(state) {} }
        let group = MultiThreadedEventLoopGroup.singleton
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.heartbeatInterval, to: 100)
        var configuration = DirectoryServer.Configuration(
            host: "127.0.0.1", port: 0, directoryKey: key, linkKey: Ed25519PrivateKey(), routers: routers,
            parameters: parameters, databasePath: state.file("registry.sqlite"))
        change(&configuration)
        let (ports, bound) = AsyncStream.makeStream(of: UInt16.self)
        let server = try DirectoryServer(
            configuration: configuration, probing: probing, group: group,
            logger: Logger(label: "test") { _ in EventLog { logged($0.level, "\($0.message)") } }
        ) { bound.yield(UInt16($0.port ?? 0)) }
        return try await withThrowingTaskGroup(of: R?.self) { tasks in
            tasks.addTask {
                try await server.run()
                return nil
            }
            tasks.addTask {
                for await port in ports {
                    return try await body(TestDirectory(directoryKey: key, port: port, group: group))
                }
                throw TestFailure("the server did not start")
            }
            while let result = try await tasks.next() {
                guard let result else { continue }
                tasks.cancelAll()
                return result
            }
            throw TestFailure("the server ended early")
        }
    }

    func connect(
        _ credentials: LinkCredentials? = nil, directoryKey: Ed25519PublicKey? = nil
    ) async throws -> DirectoryConnection {
        try await DirectoryDialler(directoryKey: directoryKey ?? self.directoryKey.publicKey, credentials: credentials)
            .connect(host: "127.0.0.1", port: self.port, on: self.group.any())
    }

    /// Say these messages over a connection, and return what comes until the directory closes it.
    func answers(to messages: [DirectoryMessage]) async throws -> [DirectoryMessage] {
        let tls = try LinkTLS(credentials: nil, protocol: .directory)
        let loop = self.group.any()
        let answers = loop.makePromise(of: [DirectoryMessage].self)
        let channel = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: nil)
                    try channel.pipeline.syncOperations.addHandler(AnswerCollector(answers))
                }
            }
            .connect(host: "127.0.0.1", port: Int(self.port)).get()
        var frames = ByteBuffer()
        for message in messages { try message.write(to: &frames) }
        channel.writeAndFlush(frames, promise: nil)
        return try await answers.futureResult.get()
    }

    /// Say these messages over a connection, twenty a second, and read nothing; return when all are said, or it is closed.
    func sayOnly(_ messages: [DirectoryMessage]) async throws {
        let tls = try LinkTLS(credentials: nil, protocol: .directory)
        let channel = try await ClientBootstrap(group: self.group)
            .channelOption(.socketOption(.so_rcvbuf), value: 4096)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: nil)
                    try channel.pipeline.syncOperations.addHandler(NonReader(messages[...]))
                }
            }
            .connect(host: "127.0.0.1", port: Int(self.port)).get()
        try await channel.closeFuture.get()
    }

    /// Wait until a consensus lists exactly these routers.
    func waitForRouters(_ expected: Set<Ed25519PublicKey>) async throws -> Consensus {
        let connection = try await self.connect()
        var revision: UInt64 = 0
        let deadline = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < deadline {
            guard let consensus = try await connection.consensus(newerThan: revision, wait: .seconds(5)) else {
                continue
            }
            if Set(consensus.routers.map(\.identity)) == expected {
                await connection.close()
                return consensus
            }
            revision = consensus.revision
        }
        throw TestFailure("the routers did not become \(expected.count)")
    }

    static var unixSeconds: UInt64 { UInt64(Date().timeIntervalSince1970) }
}

extension FakeRouter {
    func descriptor(sequence: UInt64 = 1) throws -> SignedDescriptor {
        try self.router.descriptor(sequence: sequence, published: TestDirectory.unixSeconds)
    }

    /// Connect and register.
    func join(_ directory: TestDirectory, sequence: UInt64 = 1) async throws -> DirectoryConnection {
        let connection = try await directory.connect(self.credentials)
        _ = try await connection.register(try self.descriptor(sequence: sequence))
        return connection
    }
}

/// Says one message after the other once TLS is up, reads nothing from then on, and closes.
private final class NonReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private var messages: ArraySlice<DirectoryMessage>

    init(_ messages: ArraySlice<DirectoryMessage>) { self.messages = messages }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted = event as? TLSUserEvent else { return }
        try? context.channel.syncOptions?.setOption(.autoRead, value: false)
        self.sayNext(context)
    }

    private func sayNext(_ context: ChannelHandlerContext) {
        var frame = ByteBuffer()
        guard context.channel.isActive, (try? self.messages.popFirst()?.write(to: &frame)) != nil else {
            return context.close(promise: nil)
        }
        context.writeAndFlush(NIOAny(frame), promise: nil)
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(50)) { self.sayNext(bound.value) }
    }
}

/// Reads messages until the connection is closed.
private final class AnswerCollector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let answers: EventLoopPromise<[DirectoryMessage]>
    private var decoder = DirectoryFrameDecoder(receiver: .participant)
    private var messages: [DirectoryMessage] = []

    init(_ answers: EventLoopPromise<[DirectoryMessage]>) { self.answers = answers }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.decoder.append(self.unwrapInboundIn(data))
        do {
            while let message = try self.decoder.next() { self.messages.append(message) }
        } catch {
            self.answers.fail(error)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { self.answers.succeed(self.messages) }
}
