import NIOCore
import NIOPosix
import OnionAddress
import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Link probe")
struct LinkProbeTests {
    @Test("who takes the connection and says nothing is given up after the time limit, and the connection closed")
    func silence() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let closed = group.next().makePromise(of: Void.self)
        let listener = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.closeFuture.cascade(to: closed)
                return channel.eventLoop.makeSucceededVoidFuture()
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var router = TestRouter()
        router.address = try #require(listener.localAddress.flatMap(Endpoint.init))
        let limit = TimeAmount.milliseconds(300)
        let start = NIODeadline.now()
        let probe = try LinkProbe(group: group, timeLimit: limit)
        let outcome = await probe.probe(try router.descriptor().descriptor)
        #expect(outcome == .unreachable)
        #expect(NIODeadline.now() - start >= limit)
        try await closed.futureResult.get()
        try await listener.close()
    }
}
