import DirectoryClient
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOTLS
import OnionAddress
import OnionClient
import OnionCrypto
import OnionDirectory
import OnionLink
import Testing

@Suite("Attacks on the directory", .serialized, .timeLimit(.minutes(3)))
struct DirectoryAttackTests {
    @Test("frames of hostile length, of unknown type or for the other side close the connection")
    func frames() async throws {
        try await AttackedNetwork.run { network in
            let frames: [[UInt8]] = [
                [0xff, 0xff, 0xff, 0xff, 2], [0x7f, 0xff, 0xff, 0xff, 7], [0, 0, 0, 0, 0], [0, 0, 0, 0, 200],
                [0, 0, 0, 0, 2], [0, 0, 0, 4, 2, 1, 2, 3, 4], [0, 0, 0, 9, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                [0, 0, 0, 7, 6, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 31, 9] + [UInt8](repeating: 1, count: 31),
                [0, 0, 0, 24, 4] + [UInt8](repeating: 0xff, count: 24),
                [0, 0, 0, 8, 8] + [UInt8](repeating: 1, count: 8),
                [0, 0, 0, 8, 6] + [UInt8](repeating: 0xff, count: 8) + [0, 0, 0, 8, 6]
                    + [UInt8](repeating: 0, count: 8),
            ]
            for frame in frames {
                let peer = try await Peer.connect(to: network)
                peer.send(frame)
                try await Wait.until("the connection is closed for \(frame.prefix(5))") { peer.isClosed }
            }
            // More requests than are allowed.
            let eager = try await Peer.connect(to: network)
            let ask: [UInt8] = [0, 0, 0, 32, 9] + [UInt8](repeating: 1, count: 32)
            eager.send(Array(repeatElement(ask, count: 5000).joined()))
            try await Wait.until("the connection is closed for too many requests") { eager.isClosed }
        }
    }

    @Test("registrations in another's name, place or time are refused, and beats must rise")
    func registrations() async throws {
        try await AttackedNetwork.run { network in
            let hostile = try await HostileRouter(in: network)
            let victim = try await network.honest()[0]
            let place = try #require(victim.addresses.first)
            let known = try await network.consensus().revision
            #expect(known > 0)
            func refusal(
                _ descriptor: SignedDescriptor, linkKey: Ed25519PrivateKey?
            ) async throws -> DirectoryErrorCode? {
                let connection = try await DirectoryDialler(
                    directoryKey: network.directoryKey,
                    credentials: try linkKey.map { try LinkCredentials(linkKey: $0) }
                ).connect(
                    host: "127.0.0.1", port: network.directory.port, on: MultiThreadedEventLoopGroup.singleton.next())
                do {
                    _ = try await connection.register(descriptor)
                    await connection.close()
                    return nil
                } catch DirectoryConnectionError.refused(let code, _) {
                    return code
                }
            }
            // The victim's own descriptor, over a connection that does not hold its link key, or any.
            #expect(try await refusal(victim.descriptor, linkKey: hostile.linkKey) == .wrongLinkKey)
            #expect(try await refusal(victim.descriptor, linkKey: nil) == .wrongLinkKey)
            // An identity of one's own at the victim's address.
            let stranger = Ed25519PrivateKey()
            let linkKey = Ed25519PrivateKey()
            var descriptor = hostile.descriptor(port: place.port)
            descriptor.identity = stranger.publicKey
            descriptor.linkKey = linkKey.publicKey
            let squatting = try await refusal(try descriptor.signed(by: stranger), linkKey: linkKey)
            #expect(squatting == .handshakeFailed || squatting == .unreachable)
            // With the victim's link key as well, the channel does not prove it.
            descriptor.linkKey = victim.linkKey
            #expect(try await refusal(try descriptor.signed(by: stranger), linkKey: linkKey) == .wrongLinkKey)
            // A private address, the far future, an older sequence.
            descriptor.linkKey = linkKey.publicKey
            descriptor.addresses = [Endpoint(address: .v4(0x0a00_0001), port: 80)]
            #expect(try await refusal(try descriptor.signed(by: stranger), linkKey: linkKey) == .addressNotPublic)
            descriptor = hostile.descriptor(port: place.port, sequence: 0)
            #expect(
                try await refusal(try descriptor.signed(by: hostile.identity), linkKey: hostile.linkKey)
                    == .staleSequence)
            descriptor = hostile.descriptor(port: place.port, sequence: 9)
            descriptor.published += 86_400
            #expect(
                try await refusal(try descriptor.signed(by: hostile.identity), linkKey: hostile.linkKey) == .clockSkew)
            for identity in network.identities {
                #expect(try await network.consensus().router(identity) != nil)
            }

            // A beat without a registration.
            let connection = try await DirectoryDialler(directoryKey: network.directoryKey, credentials: nil)
                .connect(
                    host: "127.0.0.1", port: network.directory.port, on: MultiThreadedEventLoopGroup.singleton.next())
            await #expect(throws: DirectoryConnectionError.self) {
                try await connection.heartbeat(counter: 1, load: RouterLoad())
            }
            await hostile.stop()
        }
    }

    @Test("a client that starts with an expired consensus takes none that is older")
    func rollback() async throws {
        try await AttackedNetwork.run { network in
            let newest = try await network.consensus()
            let now = UInt64(Date().timeIntervalSince1970)
            let expired = try Consensus.make(
                revision: newest.revision + 1_000_000_000, validAfter: now - 3600, freshUntil: now - 1800,
                validUntil: now - 60, parameters: newest.parameters, routers: newest.routers,
                signedBy: network.directorySecret)
            let state = "\(network.state)/client"
            try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
            try ConsensusStore(path: "\(state)/consensus").save(expired)
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let client = try OnionClient(
                configuration: .init(
                    directoryHost: "127.0.0.1", directoryPort: network.directory.port,
                    directoryKey: network.directoryKey, stateDirectory: state),
                group: group, logger: Logger(label: "client") { _ in SwiftLogNoOpLogHandler() })
            let progress = client.progress
            let running = Task { try await client.run() }
            let watch = Task {
                for await step in progress where step.percent == 100 { return running.cancel() }
            }
            // It says that the directory is not what it was, and does not get ready.
            await #expect(throws: OnionClientError.self) { try await running.value }
            watch.cancel()
            try await group.shutdownGracefully()
        }
    }
}

/// Somebody at the directory's port, with proper TLS and no manners.
private final class Peer: Sendable {
    private let channel: any Channel
    private let state: NIOLockedValueBox<(isSecure: Bool, isClosed: Bool)>

    private init(channel: any Channel, state: NIOLockedValueBox<(isSecure: Bool, isClosed: Bool)>) {
        self.channel = channel
        self.state = state
    }

    static func connect(to network: AttackedNetwork) async throws -> Peer {
        let state = NIOLockedValueBox((isSecure: false, isClosed: false))
        let tls = try LinkTLS(credentials: nil, protocol: .directory)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: nil)
                    try channel.pipeline.syncOperations.addHandler(Watch(state))
                }
            }
            .connect(host: "127.0.0.1", port: Int(network.directory.port)).get()
        try await Wait.until("TLS is up") { state.withLockedValue { $0.isSecure } }
        return Peer(channel: channel, state: state)
    }

    var isClosed: Bool { self.state.withLockedValue { $0.isClosed } }

    func send(_ bytes: [UInt8]) { self.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    private final class Watch: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let state: NIOLockedValueBox<(isSecure: Bool, isClosed: Bool)>

        init(_ state: NIOLockedValueBox<(isSecure: Bool, isClosed: Bool)>) { self.state = state }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .handshakeCompleted = event as? TLSUserEvent { self.state.withLockedValue { $0.isSecure = true } }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

        func channelInactive(context: ChannelHandlerContext) { self.state.withLockedValue { $0.isClosed = true } }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
