import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionCrypto
import OnionDirectory
import OnionLink

@testable import DirectoryServer

/// A directory that takes every registration, and answers with one consensus and tickets of its choice whatever one has.
final class ScriptedDirectory: ChannelInboundHandler {
    typealias InboundIn = DirectoryEvent
    typealias OutboundOut = DirectoryMessage

    struct Answers: Sendable {
        let directoryKey: Ed25519PrivateKey
        let consensus: Consensus
        /// When tickets expire.
        let ticketExpires: UInt64
        /// What tickets were given for.
        let commitments = NIOLockedValueBox<[Bytes32]>([])
        /// What clients said that they had.
        let revisions = NIOLockedValueBox<[UInt64]>([])
        /// What each client showed of itself.
        let clientKeys = NIOLockedValueBox<[Ed25519PublicKey?]>([])

        init(directoryKey: Ed25519PrivateKey, consensus: Consensus, ticketExpires: UInt64? = nil) {
            self.directoryKey = directoryKey
            self.consensus = consensus
            self.ticketExpires = ticketExpires ?? consensus.validUntil
        }
    }

    private let hello: DirectoryHello
    private let answers: Answers
    private let peer: PeerKey

    private init(hello: DirectoryHello, answers: Answers, peer: PeerKey) {
        self.hello = hello
        self.peer = peer
        self.answers = answers
    }

    /// Serve on a port of 127.0.0.1 until `body` is done.
    static func run(_ answers: Answers, _ body: (UInt16) async throws -> Void) async throws {
        let linkKey = Ed25519PrivateKey()
        let tls = try LinkTLS(credentials: try LinkCredentials(linkKey: linkKey), protocol: .directory)
        let hello = try DirectoryHello.make(
            linkKey: linkKey.publicKey, expires: TimeAndChance.system.unixSeconds + 3600,
            signedBy: answers.directoryKey)
        let budget = AnswerBudget(limit: 1 << 20, metrics: ServerMetrics())
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    let peer = try tls.addServerHandlers(to: pipeline)
                    try pipeline.addHandler(DirectoryFrameHandler(peer: peer, answers: budget))
                    try pipeline.addHandler(ScriptedDirectory(hello: hello, answers: answers, peer: peer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(UInt16(listener.localAddress?.port ?? 0)))
        } catch {
            result = .failure(error)
        }
        try? await listener.close().get()
        try result.get()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let answer: DirectoryMessage? =
            switch self.unwrapInboundIn(data) {
            case .opened: self.opened()
            case .message(.register(let bytes)):
                (try? SignedDescriptor(verifying: bytes)).map {
                    .registered(sequence: $0.descriptor.sequence, revision: self.answers.consensus.revision)
                }
            case .message(.getTicket(let commitment)): self.ticket(commitment).map { .ticket($0.bytes) }
            case .message(.getConsensus(let revision)): self.consensus(newerThan: revision)
            case .message: nil
            }
        if let answer { context.writeAndFlush(self.wrapOutboundOut(answer), promise: nil) }
    }

    private func consensus(newerThan revision: UInt64) -> DirectoryMessage {
        self.answers.revisions.withLockedValue { $0.append(revision) }
        return .consensus(self.answers.consensus.bytes)
    }

    private func opened() -> DirectoryMessage {
        self.answers.clientKeys.withLockedValue { $0.append(self.peer.publicKey) }
        return .hello(self.hello.bytes)
    }

    private func ticket(_ commitment: Bytes32) -> PathTicket? {
        self.answers.commitments.withLockedValue { $0.append(commitment) }
        return try? PathTicket.make(
            commitment: commitment, salt: .zero,
            expires: self.answers.ticketExpires,
            signedBy: self.answers.directoryKey)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
