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
        let descriptor = try UserSocket.make(at: path)
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
        for _ in 0..<2 { close(try UserSocket.make(at: path)) }
        unlink(path)
        try Data("kept".utf8).write(to: URL(fileURLWithPath: path))
        let error = try #require(throws: IOError.self) { try UserSocket.make(at: path) }
        #expect(error.errnoCode == EADDRINUSE)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data("kept".utf8))
    }
}
