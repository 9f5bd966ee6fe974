import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionDirectory
import Testing

@testable import OnionRouter

@Suite("Source address of an exit's connections")
struct ExitSourceTests {
    @Test(
        "serves its own family, and loopback only from loopback",
        arguments: [
            ("127.0.0.5", "127.0.0.1", true), ("127.0.0.5", "8.8.8.8", false), ("127.0.0.5", "::1", false),
            ("192.0.2.1", "8.8.8.8", true), ("192.0.2.1", "2606:4700::1111", false), ("2001:db8::1", "8.8.8.8", false),
        ])
    func serves(source: String, destination: String, expected: Bool) throws {
        let source = ExitSource(address: try #require(IPAddress(source)))
        #expect(source.serves(try #require(IPAddress(destination))) == expected)
    }

    @Test("connections leave from the address that was given")
    func leaves() async throws {
        try await withResolver { resolver, loop in
            let source = try #require(IPAddress("127.0.0.5"))
            var connector = ExitConnector(
                resolver: resolver,
                gate: ExitGate(policy: try .init(parsing: TestNetwork.loopbackPolicy), isOwn: { _ in false }),
                directory: "127.0.0.1", directoryPort: 1)
            connector.source = ExitSource(address: source)
            let seen = loop.makePromise(of: SocketAddress?.self)
            let listener = try await ServerBootstrap(group: loop)
                .childChannelInitializer { channel in
                    seen.succeed(channel.remoteAddress)
                    return channel.eventLoop.makeSucceededVoidFuture()
                }
                .bind(host: "127.0.0.1", port: 0).get()
            let port = try #require(listener.localAddress.flatMap(Endpoint.init)).port
            let connection = try await connector.connect(
                to: .host("127.0.0.1", port: port), in: TestNetwork.view(allowLoopback: true), on: loop
            ).get()
            #expect(try await seen.futureResult.get()?.ipAddress == "127.0.0.5")
            try await connection.channel.close()
            try await listener.close()
        }
    }

    @Test("the port is picked when the destination is known")
    func port() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let listener = try await ServerBootstrap(group: loop).bind(host: "127.0.0.1", port: 0).get()
        let bound = loop.makePromise(of: SocketAddress?.self)
        // The initializer runs when the socket is bound, and before it connects.
        let bootstrap = ClientBootstrap(group: loop).channelInitializer { channel in
            bound.succeed(channel.localAddress)
            return channel.eventLoop.makeSucceededVoidFuture()
        }
        let source = ExitSource(address: try #require(IPAddress("127.0.0.5")))
        let channel = try await source.apply(to: bootstrap).connect(to: try #require(listener.localAddress)).get()
        #expect(try await bound.futureResult.get() == SocketAddress(ipAddress: "127.0.0.5", port: 0))
        #expect(try #require(channel.localAddress?.port) > 0)
        try await channel.close()
        try await listener.close()
    }

    @Test("knows which addresses are this machine's")
    func own() throws {
        #expect(OnionRouter.isOwnAddress(try #require(IPAddress("127.0.0.9"))))
        #expect(!OnionRouter.isOwnAddress(try #require(IPAddress("192.0.2.1"))))
    }
}
