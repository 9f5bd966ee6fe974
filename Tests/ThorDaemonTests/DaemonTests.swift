import ArgumentParser
import Foundation
import Glibc
import OnionCrypto
import Testing

@testable import ThorDaemon

@Suite("Daemon", .serialized, .timeLimit(.minutes(1)))
struct DaemonTests {
    @Test("runs a command's body, core dumps off") func run() async throws {
        signal(SIGQUIT, SIG_IGN)
        var hasRun = false
        try await Daemon.run("test") { hasRun = true }
        #expect(hasRun)
        #expect(signal(SIGQUIT, SIG_DFL) == nil)
    }

    @Test("an exit code, as of a command that was run, is passed on and not reported") func exitCode() async {
        await #expect(throws: ExitCode(127)) { try await Daemon.run("test") { throw ExitCode(127) } }
    }

    @Test("what is to be shown and no error ends with 0, an operator's error with its own code") func codes() throws {
        let help = try Program("thor-directory", ["none.key", "--parameter", "help"])
        #expect(help.end() == 0)
        #expect(help.output.contains("streams-per-circuit"))
        let refused = try Program("thor-directory", ["none.key"])
        #expect(refused.end() == ExitStatus.usage.rawValue)
        #expect(refused.errors.hasPrefix("thor-directory: it is not said which routers may register. Give "))
    }

    @Test(
        "a port that is refused calls for another one, one that is taken for its user to stop",
        arguments: [
            (EACCES, "Not every user may have a port below 1024: choose one from 1024 with --listen"),
            (EADDRINUSE, "Stop what uses the port, or choose another address or port with --listen"),
        ])
    func port(errno: Int32, advice: String) {
        #expect(
            OperatorError.cannotListen(on: "0.0.0.0:443", why: "no", errno: errno)
                == OperatorError("cannot listen on 0.0.0.0:443: no", advice: advice, status: .osError))
    }

    @Test("serves until the end of its input, if it is to end with its parent") func serve() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let key = "\(directory)/key"
        try KeyFile.writePrivate(Ed25519PrivateKey(), to: key)
        let daemon = try Program(
            "thor-directory",
            [
                key, "--open-registration", "--listen", "127.0.0.1:0", "--state", "\(directory)/state",
                "--exit-with-parent", "--log-level", "trace", "--testing.log-addresses",
            ])
        while !daemon.output.contains("\nready\n") { try #require(daemon.read()) }
        #expect(daemon.output.hasPrefix("listening 127.0.0.1:"))
        // It would end at once, and not in order.
        #expect(daemon.hangUp() == 0)
        daemon.closeInput()
        #expect(daemon.end() == 0)
        #expect(daemon.errors.contains("warning logs will hold addresses that tell who talks with whom"))
        // The words of the package that runs services.
        #expect(!daemon.errors.contains("Starting service"))
    }
}

/// A program of this package, which is built beside the tests.
private final class Program {
    private let process = Process()
    private let input = Pipe()
    private let outputPipe = Pipe()
    private let errorPath = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)")
        .path
    private(set) var output = ""

    init(_ name: String, _ arguments: [String]) throws {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        self.process.executableURL = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent(
            name)
        self.process.arguments = arguments
        self.process.standardInput = self.input
        self.process.standardOutput = self.outputPipe
        try Data().write(to: URL(fileURLWithPath: self.errorPath))
        self.process.standardError = FileHandle(forWritingAtPath: self.errorPath)
        try self.process.run()
    }

    deinit {
        if self.process.isRunning { kill(self.process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(atPath: self.errorPath)
    }

    var errors: String { (try? String(contentsOfFile: self.errorPath, encoding: .utf8)) ?? "" }

    /// Send SIGHUP, and return what kill(2) does.
    func hangUp() -> Int32 { kill(self.process.processIdentifier, SIGHUP) }

    func closeInput() { try? self.input.fileHandleForWriting.close() }

    /// Take what it writes next; false at its end, or if nothing comes within 20 s.
    func read() -> Bool {
        var ready = pollfd(fd: self.outputPipe.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&ready, 1, 20_000) == 1 else { return false }
        let data = self.outputPipe.fileHandleForReading.availableData
        self.output += String(decoding: data, as: UTF8.self)
        return !data.isEmpty
    }

    /// Wait for its end, no longer than that, and return the code it ends with; of one that does not end, SIGKILL's.
    func end() -> Int32 {
        while self.read() {}
        var ready = pollfd(fd: self.outputPipe.fileHandleForReading.fileDescriptor, events: 0, revents: 0)
        if poll(&ready, 1, 0) == 0 { kill(self.process.processIdentifier, SIGKILL) }
        self.process.waitUntilExit()
        return self.process.terminationStatus
    }
}
