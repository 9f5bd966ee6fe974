import Foundation
import Logging
import NIOCore
import NIOPosix
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Status socket")
struct StatusSocketTests {
    /// A directory for one test, short enough for a socket's path.
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = "/tmp/thor-status-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    private func server(
        _ directory: String, _ status: ClientStatus, newIdentity: EventLoopPromise<Void>
    ) -> StatusServer {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        return StatusServer(
            stateDirectory: directory, group: loop,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            status: { loop.makeSucceededFuture(status) }, newIdentity: { newIdentity.succeed() })
    }

    /// Ask until the server listens; it says nothing when it does.
    private func ask(_ directory: String) async throws -> ClientStatus {
        while true {
            do {
                return try await StatusQuery.ask(stateDirectory: directory).status
            } catch ProxyError.notRunning {
                await Task.yield()
            }
        }
    }

    @Test(
        "tells the status over a socket that only the user can open, in place of a stale one", .timeLimit(.minutes(1)))
    func status() async throws {
        let hop = ClientStatus.Hop(fingerprint: "AAAA", nickname: "a", address: "[::1]:9001", country: "")
        let status = ClientStatus(
            progress: ClientProgress(percent: 100, text: "open"), guard: hop,
            circuits: [.init(state: .building, hops: [hop, hop, hop], ageSeconds: 1.5, streamCount: 0)])
        try await self.withDirectory { directory in
            for _ in 0..<2 {
                // What a proxy that was killed leaves behind.
                let stale = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .bind(
                        unixDomainSocketPath: "\(directory)/\(StatusSocket.fileName)", cleanupExistingSocketFile: true
                    )
                    .get()
                try await stale.close().get()
                let told = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
                let running = Task { try await self.server(directory, status, newIdentity: told).run() }
                #expect(try await self.ask(directory) == status)
                try await StatusQuery.newIdentity(stateDirectory: directory)
                try await told.futureResult.get()
                let attributes = try FileManager.default.attributesOfItem(
                    atPath: "\(directory)/\(StatusSocket.fileName)")
                #expect(attributes[.posixPermissions] as? Int == 0o600)
                running.cancel()
                try await running.value
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            }
        }
    }

    @Test("says that no proxy runs, and that a path is too long")
    func errors() async throws {
        try await self.withDirectory { directory in
            await #expect(throws: ProxyError.notRunning(stateDirectory: directory)) {
                _ = try await StatusQuery.ask(stateDirectory: directory)
            }
        }
        let long = "/" + String(repeating: "x", count: StatusSocket.maximumPathByteCount)
        #expect(throws: ProxyError.self) { _ = try StatusSocket.path(stateDirectory: long) }
    }
}
