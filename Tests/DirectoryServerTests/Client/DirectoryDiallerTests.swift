import Glibc
import NIOCore
import NIOPosix
import OnionCrypto
import TestSupport
import Testing

@testable import DirectoryClient

@Suite("Directory dialler, of a name with several addresses", .timeLimit(.minutes(1)))
struct DirectoryDiallerTests {
    /// Says what it was told, whatever the name.
    private struct Answers: Resolver, Sendable {
        let v6: [SocketAddress]
        let v4: [SocketAddress]
        let loop: any EventLoop

        func initiateAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
            self.loop.makeSucceededFuture(self.v4)
        }
        func initiateAAAAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
            self.loop.makeSucceededFuture(self.v6)
        }
        func cancelQueries() {}
    }

    /// Ask a directory whose name has these addresses, and then its own.
    private func ask(after v6: [SocketAddress] = [], _ v4: [SocketAddress] = []) async throws {
        try await TestDirectory.with { directory in
            let loop = directory.group.any()
            let own = try SocketAddress(ipAddress: "127.0.0.1", port: Int(directory.port))
            let connection = try await DirectoryDialler(
                directoryKey: directory.directoryKey.publicKey, credentials: nil
            )
            .connect(
                host: "ds.test", port: directory.port, on: loop, timeLimit: DirectoryDialler.timeLimit,
                resolver: Answers(v6: v6, v4: v4 + [own], loop: loop))
            #expect(try await connection.consensus(newerThan: 0) != nil)
            await connection.close()
        }
    }

    @Test("addresses that refuse are passed over")
    func refused() async throws {
        let (one, other) = (try ReservedPort(), try ReservedPort())
        let refusing = try [one, other].map { try SocketAddress(ipAddress: "127.0.0.1", port: Int($0.port)) }
        try await self.ask(after: [], [refusing[0]])
        try await self.ask(after: [], refusing)
        // As on a machine without IPv6, or where nobody listens on it.
        try await self.ask(after: [SocketAddress(ipAddress: "::1", port: Int(one.port))])
    }

    @Test("one that says nothing loses the race, and its end is not the connection's")
    func lostRace() async throws {
        let (listener, port) = try ReservedPort.listen(backlog: 0)
        let silent = try SocketAddress(ipAddress: "127.0.0.1", port: Int(port))
        // Whoever comes after these waits for a place.
        let waiting = (0..<4).map { _ in socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_NONBLOCK, 0) }
        defer { for descriptor in waiting + [listener] { close(descriptor) } }
        for descriptor in waiting { silent.withSockAddr { _ = Glibc.connect(descriptor, $0, socklen_t($1)) } }
        try await self.ask(after: [silent])
    }

    @Test("that none answers is told, with the reason of one")
    func none() async throws {
        let reserved = try ReservedPort()
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        let refusing = try SocketAddress(ipAddress: "127.0.0.1", port: Int(reserved.port))
        await #expect(throws: DirectoryConnectionError.unreachable(why: String(cString: strerror(ECONNREFUSED)))) {
            try await DirectoryDialler(directoryKey: TestRouter().identity.publicKey, credentials: nil)
                .connect(
                    host: "ds.test", port: reserved.port, on: loop, timeLimit: DirectoryDialler.timeLimit,
                    resolver: Answers(v6: [refusing], v4: [refusing], loop: loop))
        }
    }
}
