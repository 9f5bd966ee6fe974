import Foundation
import Glibc
import HostilePeers
import NIOConcurrencyHelpers
import OnionAddress
package import ThorDaemon
import ThorTestnet

/// Starts daemons beside those of the network, for attacks that need a router with other rules or a proxy of their own;
/// knows all processes that must not die.
package final class DaemonStarter: Sendable {
    private struct State {
        var watched: [ProcessWatch] = []
        /// Those that were started here and not stopped.
        var started: [StartedDaemon] = []
        var startedCount = 0
    }

    private let executables: String
    private let directory: String
    private let logLevel: String
    private let parentPipe: ThorTestnet.Pipe
    private let state: NIOLockedValueBox<State>

    /// - Parameters:
    ///   - directory: where keys, state and logs go; removed by whoever made it.
    ///   - watched: the network's own daemons.
    package init(executables: String, directory: String, logLevel: LogLevel, watching watched: [ProcessWatch]) throws {
        self.executables = executables
        self.directory = directory
        self.logLevel = logLevel.rawValue
        self.parentPipe = try ThorTestnet.Pipe()
        self.state = NIOLockedValueBox(State(watched: watched))
    }

    deinit {
        close(self.parentPipe.readEnd)
        close(self.parentPipe.writeEnd)
    }

    /// Every process that should be alive: the network's own, and those started here and not stopped.
    package var watched: [ProcessWatch] { self.state.withLockedValue { $0.watched } }

    /// Those that are not what they were.
    package var dead: [String] { self.watched.filter { !$0.isAlive }.map(\.name) }

    package var resident: [(name: String, byteCount: Int)] {
        self.watched.map { ($0.name, $0.residentByteCount) }
    }

    /// A path in the directory that nobody uses yet.
    func freshPath(_ name: String) -> String {
        let number = self.state.withLockedValue { state in
            state.startedCount += 1
            return state.startedCount
        }
        return "\(self.directory)/attack-\(number)-\(name)"
    }

    /// Start a daemon with the arguments that are its own.
    func start(_ role: DaemonRole, _ arguments: [String], state: String? = nil) throws -> StartedDaemon {
        let path = state ?? self.freshPath(role.executable)
        let daemon = try StartedDaemon(
            executable: "\(self.executables)/\(role.executable)",
            arguments: arguments + ["--state", path, "--log-level", self.logLevel, "--exit-with-parent"],
            standardInput: self.parentPipe.readEnd, logPath: "\(path).log")
        // One that has ended already says so by itself.
        let watch = ProcessWatch(name: role.executable, processID: daemon.processID)
        self.state.withLockedValue { state in
            state.started.append(daemon)
            if let watch { state.watched.append(watch) }
        }
        return daemon
    }

    /// Stop a daemon that was started here, and wait for its end.
    func stop(_ daemon: StartedDaemon) async {
        self.forget(daemon)
        await daemon.stop()
        self.state.withLockedValue { $0.started.removeAll { $0 === daemon } }
    }

    /// Stop those that an attack has left: one that was stopped in the middle, say.
    func stopAll() async {
        for daemon in self.state.withLockedValue({ $0.started }) { await self.stop(daemon) }
    }

    /// Let `body` use a daemon that was started here, and stop it.
    ///
    /// - Throws: ``Crash`` if it has ended by itself, whatever `body` made of that; else what `body` throws.
    func using<R>(_ daemon: StartedDaemon, _ body: () async throws -> R) async throws -> R {
        let result: Result<R, any Error>
        do {
            result = .success(try await body())
        } catch {
            result = .failure(error)
            // Whoever has lost his connection to it may know before the end is told.
            try? await Wait.until("a daemon has ended", seconds: 1) { daemon.end != nil }
        }
        if let end = daemon.end {
            await self.stop(daemon)
            throw Crash(name: daemon.name, end: end)
        }
        await self.stop(daemon)
        return try result.get()
    }

    /// A daemon may end from now on.
    func forget(_ daemon: StartedDaemon) {
        self.state.withLockedValue { $0.watched.removeAll { $0.processID == daemon.processID } }
    }
}

/// A daemon of an attack's own has ended by itself: that is what the attack has done.
struct Crash: Error, Equatable, CustomStringConvertible {
    let name: String
    let end: ProcessEnd

    var description: String { "\(self.name) \(self.end)" }
}

/// A daemon that an attack has started, and what it has said.
final class StartedDaemon: Sendable {
    private struct State: Sendable {
        var address: Endpoint?
        var isReady = false
        var end: ProcessEnd?
    }

    private let process: DaemonProcess
    private let state: NIOLockedValueBox<State>
    let name: String
    let logPath: String

    init(executable: String, arguments: [String], standardInput: Int32, logPath: String) throws {
        let state = NIOLockedValueBox(State())
        self.state = state
        self.name = URL(fileURLWithPath: executable).lastPathComponent
        self.logPath = logPath
        self.process = try DaemonProcess(
            executable: executable, arguments: arguments, standardInput: standardInput, logPath: logPath,
            onLine: { line in
                switch DaemonReport(line: line) {
                case .listening(let address): state.withLockedValue { $0.address = Endpoint(address) }
                case .ready: state.withLockedValue { $0.isReady = true }
                case .progress, nil: break
                }
            },
            onExit: { end in state.withLockedValue { $0.end = end } })
    }

    var processID: Int32 { self.process.processID }
    var address: Endpoint? { self.state.withLockedValue { $0.address } }
    var isReady: Bool { self.state.withLockedValue { $0.isReady } }
    var end: ProcessEnd? { self.state.withLockedValue { $0.end } }

    /// Wait until it is ready, and return where it listens.
    func ready(seconds: Double = 20) async throws -> Endpoint {
        try await Wait.until("a daemon is ready", seconds: seconds) {
            if let end { throw Crash(name: self.name, end: end) }
            return self.isReady && self.address != nil
        }
        guard let address else { throw PeerError.noService("a daemon has no address") }
        return address
    }

    func stop() async {
        // By a task of its own: an attack that is stopped in the middle leaves nobody behind.
        await Task { await self.terminate() }.value
    }

    private func terminate() async {
        guard self.end == nil else { return }
        self.process.signal(SIGTERM)
        if (try? await Wait.until("a daemon ends", seconds: 6) { self.end != nil }) != nil { return }
        self.process.signal(SIGKILL)
        try? await Wait.until("a daemon is gone", seconds: 2) { self.end != nil }
    }
}
