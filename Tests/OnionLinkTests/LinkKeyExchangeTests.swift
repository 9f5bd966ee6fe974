import NIOCore
import NIOEmbedded
import NIOSSL
import OnionCrypto
import Testing

@testable import OnionLink

/// What the first bytes of a link say of its key exchange: all that who records it and has a quantum computer can use.
@Suite("Key exchange of a link")
struct LinkKeyExchangeTests {
    /// The extension key_share of a ServerHello: the group that was agreed on, and how many bytes the server's share has.
    private static let hybridShare: [UInt8] = [0x00, 0x33, 0x04, 0x64, 0x11, 0xec, 0x04, 0x60]
    private static let classicalShare: [UInt8] = [0x00, 0x33, 0x00, 0x24, 0x00, 0x1d, 0x00, 0x20]

    private static func server() throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        let tls = try LinkTLS(credentials: LinkCredentials(linkKey: Ed25519PrivateKey()), protocol: .link)
        _ = try tls.addServerHandlers(to: channel.pipeline.syncOperations)
        return channel
    }

    private static func client() throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        let tls = try LinkTLS(credentials: nil, protocol: .link)
        _ = try tls.addClientHandlers(to: channel.pipeline.syncOperations, expecting: nil)
        return channel
    }

    /// A peer that is none of ours, and knows X25519 alone.
    private static func oldClient() throws -> EmbeddedChannel {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.certificateVerification = .none
        tls.applicationProtocols = [LinkProtocol.link.rawValue]
        tls.verifySignatureAlgorithms = [.ed25519]
        tls.curves = [.x25519]
        return EmbeddedChannel(
            handler: try NIOSSLClientHandler(context: NIOSSLContext(configuration: tls), serverHostname: nil))
    }

    /// Open a connection, and return all that leaves at once.
    private static func firstBytes(of channel: EmbeddedChannel, after received: [UInt8] = []) throws -> [UInt8] {
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9001)).wait()
        if !received.isEmpty { try channel.writeInbound(ByteBuffer(bytes: received)) }
        var bytes: [UInt8] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { bytes += buffer.readableBytesView }
        return bytes
    }

    @Test("a client offers ML-KEM-768 with X25519 first, X25519 alone after it, and nothing else") func offer() throws {
        let client = try Self.client()
        let hello = try Self.firstBytes(of: client)
        // supported_groups: X25519MLKEM768, X25519.
        #expect(hello.contains([0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x11, 0xec, 0x00, 0x1d]))
        // The first key share is the hybrid one: 1184 and 32 bytes.
        #expect(hello.contains([0x11, 0xec, 0x04, 0xc0]))
        _ = try? client.finish(acceptAlreadyClosed: true)
    }

    @Test(
        "two nodes agree on ML-KEM-768 with X25519; a peer that knows X25519 alone is let in", arguments: [true, false])
    func agreed(isOurs: Bool) throws {
        let client = try isOurs ? Self.client() : Self.oldClient()
        let server = try Self.server()
        let hello = try Self.firstBytes(of: client)
        let answer = try Self.firstBytes(of: server, after: hello)
        #expect(answer.contains(Self.hybridShare) == isOurs)
        #expect(answer.contains(Self.classicalShare) == !isOurs)
        for channel in [client, server] { _ = try? channel.finish(acceptAlreadyClosed: true) }
    }
}
