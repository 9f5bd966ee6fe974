import Foundation
import Testing
import ThorDaemon
import ThorTestnet

@testable import AttackSuite

@Suite("Daemons that attacks start", .timeLimit(.minutes(1)))
struct OwnDaemonTests {
    /// A directory of programs, each a shell script, for `body`.
    private static func with<R>(_ scripts: [String: String], _ body: (String) async throws -> R) async throws -> R {
        let path = NSTemporaryDirectory() + "thor-daemons-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        for (name, script) in scripts {
            let file = "\(path)/\(name)"
            try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: file))
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: file)
        }
        return try await body(path)
    }

    /// Says that it is ready, and ends with its parent.
    private static let patient = "echo listening 127.0.0.1:9; echo ready; exec cat >/dev/null"

    private static func with<R>(
        _ script: String, _ body: (DaemonStarter, StartedDaemon) async throws -> R
    ) async throws -> R {
        try await Self.with(["thor-proxy": script]) { path in
            let starter = try DaemonStarter(executables: path, directory: path, logLevel: .info, watching: [])
            return try await body(starter, try starter.start(.proxy, []))
        }
    }

    @Test("one that ends by itself is what its attack has done, whatever the attack says", arguments: [true, false])
    func crash(isNoticed: Bool) async throws {
        try await Self.with("echo listening 127.0.0.1:9; echo ready; ulimit -c 0; kill -ABRT $$") { starter, daemon in
            let crash = await #expect(throws: Crash.self) {
                try await starter.using(daemon) {
                    while daemon.end == nil { try await Task.sleep(for: .milliseconds(1)) }
                    if isNoticed { throw CancellationError() }
                }
            }
            #expect(crash == Crash(name: "thor-proxy", end: .signal(6)))
            #expect(starter.watched.isEmpty)
        }
    }

    @Test("one that is still there is stopped, and what its attack says counts")
    func stopped() async throws {
        try await Self.with(Self.patient) { starter, daemon in
            let address = try await starter.using(daemon) { try await daemon.ready() }
            #expect("\(address)" == "127.0.0.1:9")
            #expect(daemon.end != nil)
        }
        try await Self.with(Self.patient) { starter, daemon in
            await #expect(throws: CancellationError.self) {
                try await starter.using(daemon) { throw CancellationError() }
            }
            #expect(daemon.end != nil)
        }
    }

    @Test("one that an attack has left ends in order with the network, even when all is being cancelled")
    func left() async throws {
        let orderly = "trap 'exit 3' TERM; echo listening 127.0.0.1:9; echo ready; while sleep 0.02; do :; done"
        try await Self.with(orderly) { starter, daemon in
            _ = try await daemon.ready()
            let stopping = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                await starter.stopAll()
            }
            await stopping.value
            #expect(daemon.end == .code(3))
        }
    }

    @Test("a network that does not come up is told at once, with the last words of the daemon that ended")
    func start() async throws {
        let scripts = [
            "thor-directory": Self.patient, "thor-router": "echo out of order >&2; exit 1", "thor-proxy": "exit 1",
            "janitor": "exec cat >/dev/null",
        ]
        let error = await #expect(throws: OperatorError.self) {
            try await Self.with(scripts) { path in
                let network = try await AttackedDaemons.start(
                    .init(executables: path, ownExecutable: "\(path)/janitor", logLevel: .info, say: { _ in true }))
                await network.stop()
            }
        }
        #expect(error?.status == .unavailable)
        #expect(error?.problem.contains("out of order") == true)
        #expect(error?.problem.contains("ended with exit code 1") == true)
    }
}
