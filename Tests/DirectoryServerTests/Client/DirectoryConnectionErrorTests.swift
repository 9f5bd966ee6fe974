import NIOCore
import NIOPosix
import OnionCrypto
import TestSupport
import Testing

@testable import DirectoryClient

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

@Suite("Directory connection errors, for people")
struct DirectoryConnectionErrorTests {
    private let group = MultiThreadedEventLoopGroup.singleton

    private func failure(port: Int) async throws -> DirectoryConnectionError? {
        let dialler = try DirectoryDialler(directoryKey: Ed25519PrivateKey().publicKey, credentials: nil)
        return await #expect(throws: DirectoryConnectionError.self) {
            try await dialler.connect(host: "127.0.0.1", port: UInt16(clamping: port), on: self.group.any())
        }
    }

    @Test("say in a few words that nobody listens, and that what answers does not speak TLS") func words() async throws
    {
        let nowhere = try ReservedPort()
        #expect(try await self.failure(port: Int(nowhere.port)) == .unreachable(why: "Connection refused"))
        let plain = try await ServerBootstrap(group: self.group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(PlainServer()) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(plain.localAddress?.port)
        #expect(try await self.failure(port: port) == .notADirectory(why: "it does not speak TLS"))
        try await plain.close()
        #expect(
            DirectoryConnectionError.words(IOError(errnoCode: ENETUNREACH, reason: "x")) == "Network is unreachable")
        #expect(DirectoryConnectionError.words(ChannelError.connectTimeout(.seconds(1))) == "no answer in time")
    }
}

/// Answers whatever comes as a web server without TLS does.
private final class PlainServer: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let answer = ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n")
        context.writeAndFlush(self.wrapOutboundOut(answer), promise: nil)
    }
}
