import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionLink

@testable import DirectoryServer

/// A directory that takes every registration, and answers with one consensus of its choice whatever the router has.
final class RollbackDirectory: ChannelInboundHandler {
    typealias InboundIn = DirectoryEvent
    typealias OutboundOut = DirectoryMessage

    private let hello: DirectoryHello
    private let consensus: Consensus

    private init(hello: DirectoryHello, consensus: Consensus) {
        self.hello = hello
        self.consensus = consensus
    }

    /// Serve until `body` is done.
    static func run(
        _ directoryKey: Ed25519PrivateKey, answering consensus: Consensus, _ body: (Endpoint) async throws -> Void
    ) async throws {
        let linkKey = Ed25519PrivateKey()
        let tls = try LinkTLS(credentials: try LinkCredentials(linkKey: linkKey), protocol: .directory)
        let hello = try DirectoryHello.make(
            linkKey: linkKey.publicKey, expires: consensus.validUntil, signedBy: directoryKey)
        let answers = AnswerBudget(limit: 1 << 20, metrics: ServerMetrics())
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    let peer = try tls.addServerHandlers(to: pipeline)
                    try pipeline.addHandler(DirectoryFrameHandler(peer: peer, answers: answers))
                    try pipeline.addHandler(RollbackDirectory(hello: hello, consensus: consensus))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Void, any Error>
        do {
            try await body(Endpoint(address: .v4(0x7f00_0001), port: UInt16(listener.localAddress?.port ?? 0)))
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try? await listener.close().get()
        try result.get()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let answer: DirectoryMessage? =
            switch self.unwrapInboundIn(data) {
            case .opened: .hello(self.hello.bytes)
            case .message(.register(let bytes)):
                (try? SignedDescriptor(verifying: bytes)).map {
                    .registered(sequence: $0.descriptor.sequence, revision: self.consensus.revision)
                }
            case .message(.getConsensus): .consensus(self.consensus.bytes)
            case .message: nil
            }
        if let answer { context.writeAndFlush(self.wrapOutboundOut(answer), promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
