import ArgumentParser
import AttackSuite
import Foundation
import Glibc
import ThorDaemon
import ThorTestnet
import UnixSignals

/// `thor-testnet attack`: play every attack that we know against a network of real daemons.
struct AttackCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attack",
        abstract: "Attack a network of real daemons, and say what it did.",
        discussion: """
            Starts a network of its own on loopback, with the limits of a real one, plays each attack with hostile \
            clients, routers, directories and destinations, and prints what was tried, what should happen, what did, \
            and a verdict: held, broken, or unplayed; to a terminal the verdict and what happened. After each attack an \
            honest request must go through, and every daemon must be the process that it was. All attacks take some \
            minutes.

              thor-testnet attack cell handshake-zero-point

            plays the attacks whose names begin so. The exit code is 0 only if all of them held. Ctrl-C ends it, \
            shows what was played so far, and exits with 75.
            """)

    @Argument(help: ArgumentHelp("Attacks, or the first words of their names. (default: all)", valueName: "name"))
    var names: [String] = []

    @Flag(help: "List the attacks, and play none.")
    var list = false

    @Option(
        help: ArgumentHelp("Write what came out as JSON to this file; - for standard output.", valueName: "file"))
    var json: String?

    @Option(name: .customLong("log-level"), help: ArgumentHelp("How much the daemons log.", valueName: "level"))
    var logLevel = LogLevel.info

    @Option(help: .hidden)
    var executables: String?

    func run() async throws {
        var held = true
        try await Daemon.run(ThorTestnetCommand.name) {
            let attacks = try self.selected()
            if self.list {
                for attack in attacks { StandardOutput.line("\(attack.name)\n    \(attack.tries)") }
            } else {
                held = try await self.play(attacks).held
            }
        }
        if !held { throw ExitCode.failure }
    }

    private func play(_ attacks: [Attack]) async throws -> AttackReport {
        FileDescriptorLimit.raise()
        let programs = try Programs(directory: self.executables)
        if let json, !self.writesOutput {
            try JSONFile.begin(AttackReport([], isComplete: false).json(), at: json)
        }
        let run = AttackRun(
            .init(
                executables: programs.directory, ownExecutable: programs.own, logLevel: self.logLevel, say: self.say))
        let report = try await Self.untilSignal { try await run.play(attacks) }
        let descriptor = self.writesOutput ? STDERR_FILENO : STDOUT_FILENO
        _ = self.say("\n\(Self.width(of: descriptor).map(report.list) ?? report.table)")
        try self.write(report)
        guard report.complete else { throw OperatorError("stopped before the end", advice: "", status: .temporary) }
        return report
    }

    /// Whether JSON goes to standard output, which it then has for itself.
    private var writesOutput: Bool { self.json == "-" }

    private var say: @Sendable (String) -> Bool {
        guard self.writesOutput else { return { StandardOutput.line($0) } }
        return { line in
            try? FileHandle.standardError.write(contentsOf: Data("\(line)\n".utf8))
            return true
        }
    }

    /// In characters; nil if it is no terminal.
    private static func width(of descriptor: Int32) -> Int? {
        guard isatty(descriptor) == 1 else { return nil }
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    private func selected() throws(OperatorError) -> [Attack] {
        do {
            return try AttackCatalogue.select(self.names)
        } catch {
            throw OperatorError(
                "there is no attack \(error.name)", advice: "'thor-testnet attack --list' shows all", status: .usage)
        }
    }

    private func write(_ report: AttackReport) throws {
        guard let json else { return }
        let data = try report.json()
        guard self.writesOutput else {
            try JSONFile.write(data, to: json)
            return
        }
        do {
            try FileHandle.standardOutput.write(contentsOf: data)
        } catch {
            throw OperatorError(
                "cannot write to standard output: \(error.localizedDescription)", advice: "", status: .inputOutput)
        }
    }

    /// Do it, or stop at Ctrl-C: then what was started is stopped, and what was played so far comes back.
    private static func untilSignal(
        _ body: @escaping @Sendable () async throws -> AttackReport
    ) async throws -> AttackReport {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        return try await withThrowingTaskGroup(of: AttackReport?.self) { group in
            group.addTask { try await body() }
            group.addTask {
                for await _ in signals { return nil }
                return nil
            }
            defer { group.cancelAll() }
            while let ended = try await group.next() {
                if let report = ended { return report }
                group.cancelAll()
            }
            throw CancellationError()
        }
    }
}
