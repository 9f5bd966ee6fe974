import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import ProxyFrontend

@Suite("Socket of the user alone", .timeLimit(.minutes(1)))
struct UserSocketTests {
    private func isConnectable(_ path: String) async throws -> Bool {
        do {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(unixDomainSocketPath: path).get()
            try await channel.close().get()
            return true
        } catch let error as IOError where error.errnoCode == ECONNREFUSED {
            return false
        }
    }

    @Test("nobody can connect before its mode is what it should be, whatever the umask")
    func closedAtFirst() async throws {
        let path = "/tmp/thor-user-\(UInt32.random(in: 0 ... .max)).socket"
        defer { unlink(path) }
        let descriptor = try UserSocket.make(at: path).descriptor
        defer { close(descriptor) }
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        #expect(try await !self.isConnectable(path))
        listen(descriptor, 1)
        #expect(try await self.isConnectable(path))
    }

    @Test("takes the place of a socket, and of nothing else")
    func place() throws {
        let path = "/tmp/thor-user-\(UInt32.random(in: 0 ... .max)).socket"
        defer { unlink(path) }
        for _ in 0..<2 { close(try UserSocket.make(at: path).descriptor) }
        unlink(path)
        try Data("kept".utf8).write(to: URL(fileURLWithPath: path))
        let error = try #require(throws: IOError.self) { try UserSocket.make(at: path) }
        #expect(error.errnoCode == EADDRINUSE)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data("kept".utf8))
    }

    @Test("a socket on which somebody listens is his, though he has no room for one more, or is of another kind")
    func live() throws {
        let path = "/tmp/thor-user-\(UInt32.random(in: 0 ... .max)).socket"
        defer { unlink(path) }
        let live = try UserSocket.make(at: path)
        listen(live.descriptor, 0)
        // The first of these waits in the queue, and fills it.
        for _ in 0..<3 {
            let error = try #require(throws: IOError.self) { try UserSocket.make(at: path) }
            #expect(error.errnoCode == EADDRINUSE)
        }
        close(live.descriptor)
        unlink(path)

        let other = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(other) }
        let address = try SocketAddress(unixDomainSocketPath: path)
        #expect(address.withSockAddr { bind(other, $0, socklen_t($1)) } == 0)
        #expect(throws: IOError.self) { try UserSocket.make(at: path) }
        #expect(FileManager.default.fileExists(atPath: path))
    }

    @Test("whoever listens where another has taken his place is told", .timeLimit(.minutes(1)))
    func overtaken() async throws {
        let path = "/tmp/thor-user-\(UInt32.random(in: 0 ... .max)).socket"
        let first = try UserSocket.make(at: path)
        let second = try UserSocket.make(at: path)
        defer {
            second.removeFile()
            close(second.descriptor)
        }
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        let error = await #expect(throws: IOError.self) { _ = try await ProxyServer.listen(bootstrap, on: first) }
        #expect(error?.errnoCode == EADDRINUSE)
        // What is there is the other's, and stays.
        #expect(second.isInPlace)
    }

    @Test("its file is removed as long as it is its own")
    func removal() throws {
        let path = "/tmp/thor-user-\(UInt32.random(in: 0 ... .max)).socket"
        let first = try UserSocket.make(at: path)
        unlink(path)
        let second = try UserSocket.make(at: path)
        defer { for socket in [first, second] { close(socket.descriptor) } }
        first.removeFile()
        #expect(FileManager.default.fileExists(atPath: path))
        second.removeFile()
        #expect(!FileManager.default.fileExists(atPath: path))
        second.removeFile()
    }
}
