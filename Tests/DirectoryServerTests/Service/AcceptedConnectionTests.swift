import DirectoryClient
import NIOCore
import NIOEmbedded
import NIOPosix
import Testing

@testable import DirectoryServer

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Connections that are gone as they are accepted", .timeLimit(.minutes(1)))
struct AcceptedConnectionTests {
    /// Connects `count` times at once.
    private static func connect(_ count: Int, to directory: TestDirectory) async throws -> [any Channel] {
        let connecting = (0..<count).map { _ in
            ClientBootstrap(group: directory.group).connect(host: "127.0.0.1", port: Int(directory.port))
        }
        return try await EventLoopFuture.whenAllSucceed(connecting, on: directory.group.any()).get()
    }

    @Test("a server that ends while connections come ends in order, whether they are served yet or not")
    func ending() async throws {
        for count in [1, 10, 50, 200, 200, 200] {
            let channels = try await TestDirectory.with { directory in
                try await Self.connect(count, to: directory)
            }
            for channel in channels { try? await channel.close() }
        }
    }

    @Test("one that is gone before it is served is told from one that can be")
    func gone() async throws {
        let channel = NIOAsyncTestingChannel()
        try await channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).get()
        try await channel.close()
        _ = await #expect(throws: ChannelError.self) { try await DirectoryServer.begin(channel) }
    }

    @Test("peers that reset their connections at once take nothing from the others")
    func resets() async throws {
        try await TestDirectory.with { directory in
            for _ in 0..<5 {
                for channel in try await Self.connect(100, to: directory) {
                    let options = try #require(channel as? any SocketOptionProvider)
                    // The server may have closed it already: there are too many of one address.
                    try? await options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
                    try? await channel.close()
                }
            }
            let connection = try await directory.connect()
            #expect(try await connection.consensus(newerThan: 0) != nil)
            await connection.close()
        }
    }
}
