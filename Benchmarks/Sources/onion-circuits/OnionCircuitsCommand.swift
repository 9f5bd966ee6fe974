import ArgumentParser
import Foundation
import Logging
import NIOCore
import NIOPosix
@_spi(Benchmark) import OnionClient
import OnionCrypto

/// Builds three-hop circuits in a running network: how many a second, or as many as are to stand idle.
@main
struct OnionCircuitsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "onion-circuits",
        abstract: "Build three-hop circuits in a running network.",
        discussion: """
            Prints one line of JSON: how many circuits a second were built, and the median and 95th percentile of one. \
            With --hold it prints 'holding N' once they are all open, and ends with its standard input.
            """)

    @Argument(help: "The directory server, as 127.0.0.1:port.")
    var directory: String
    @Argument(help: "The directory server's public key.")
    var keyFile: String
    @Option(help: "How many circuits to build.")
    var count = 1000
    @Option(help: "How many of them at once.")
    var concurrency = 1
    @Option(help: "Leave this many open, rather than close each.")
    var hold: Int?

    func run() async throws {
        let parts = self.directory.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1]), self.count > 0, self.concurrency > 0 else {
            throw ValidationError("write the directory server as address:port, and counts above 0")
        }
        let state = FileManager.default.temporaryDirectory.appending(path: "onion-circuits-\(getpid())")
        try FileManager.default.createDirectory(
            at: state, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(at: state) }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let client = try OnionClient(
            configuration: .init(
                directoryHost: String(parts[0]), directoryPort: port,
                directoryKey: try KeyFile.readPublic(self.keyFile),
                stateDirectory: state.path),
            group: group, logger: Logger(label: "onion-circuits") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { try await client.run() }
        for await progress in client.progress where progress.percent == 100 { break }
        if let hold {
            _ = try await self.build(hold, by: client, closing: false)
            // At once, and not when a buffer is full.
            FileHandle.standardOutput.write(Data("holding \(hold)\n".utf8))
            while readLine() != nil {}
        } else {
            // What is done for the first time only.
            _ = try await self.build(min(20, self.count), by: client, closing: true)
            let start = ContinuousClock.now
            let times = try await self.build(self.count, by: client, closing: true).sorted()
            self.report(times, over: ContinuousClock.now - start)
        }
        running.cancel()
        _ = try? await running.value
        try await group.shutdownGracefully()
    }

    /// Build circuits, ``concurrency`` at a time.
    ///
    /// - Returns: how long each took.
    private func build(_ count: Int, by client: OnionClient, closing: Bool) async throws -> [Duration] {
        try await withThrowingTaskGroup(of: Duration.self) { group in
            @Sendable func one() async throws -> Duration {
                let start = ContinuousClock.now
                let circuit = try await client.buildCircuit().get()
                let time = ContinuousClock.now - start
                if closing { circuit.close() }
                return time
            }
            var started = min(self.concurrency, count)
            for _ in 0..<started { group.addTask(operation: one) }
            var times: [Duration] = []
            for try await time in group {
                times.append(time)
                guard started < count else { continue }
                started += 1
                group.addTask(operation: one)
            }
            return times
        }
    }

    private func report(_ times: [Duration], over total: Duration) {
        func milliseconds(_ duration: Duration) -> String {
            (duration / .milliseconds(1)).formatted(.number.precision(.fractionLength(3)).grouping(.never))
        }
        let rate = Double(times.count) / (total / .seconds(1))
        print(
            """
            {"count": \(times.count), "concurrency": \(self.concurrency), "perSecond": \(Int(rate.rounded())), \
            "medianMilliseconds": \(milliseconds(times[times.count / 2])), \
            "p95Milliseconds": \(milliseconds(times[times.count * 95 / 100]))}
            """)
    }
}
