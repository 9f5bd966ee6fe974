import ArgumentParser
import ThorDaemon
import ThorTestnet
import UnixSignals

/// `thor-testnet`, unless told otherwise: run a network until Ctrl-C.
struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a whole Thor network on this machine (what 'thor-testnet' does unless told otherwise).",
        usage: "thor-testnet [options]")

    @Option(help: ArgumentHelp("How many onion routers to run, 3 to 100.", valueName: "number"))
    var routers = 5

    @Option(help: ArgumentHelp("Where the SOCKS5 proxy listens; port 0 picks a free one.", valueName: "address:port"))
    var listen = HostPort(host: "127.0.0.1", port: 1080)

    @Option(help: ArgumentHelp("Keep keys, state and logs in this directory.", valueName: "dir"))
    var state: String?

    @Option(help: ArgumentHelp("Once the network is ready, describe it in this file.", valueName: "file"))
    var json: String?

    @Option(
        name: .customLong("parameter"), parsing: .singleValue,
        help: ArgumentHelp(
            "Set a network parameter. 'thor-directory --parameter help' lists them.", valueName: "name=value"))
    var parameters: [String] = []

    @Option(name: .customLong("log-level"), help: ArgumentHelp("How much the daemons log.", valueName: "level"))
    var logLevel = LogLevel.info

    @Option(help: .hidden)
    var executables: String?

    @Flag(help: .hidden)
    var janitor = false

    func validate() throws {
        guard (NetworkSupervisor.minimumRouterCount...100).contains(self.routers) else {
            throw ValidationError("--routers must be from \(NetworkSupervisor.minimumRouterCount) to 100.")
        }
    }

    func run() async throws {
        if self.janitor {
            Janitor.run(removing: self.state)
            return
        }
        var exitCode: Int32 = 0
        try await Daemon.run(ThorTestnetCommand.name) {
            // From here on Ctrl-C is an event, so that it leaves nothing behind.
            let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
            let programs = try Programs(directory: self.executables)
            let directory = try NetworkDirectory(path: self.state)
            do {
                let plan = try NetworkPlan(
                    routerCount: self.routers, proxyListen: self.listen, logLevel: self.logLevel.rawValue,
                    parameters: self.parameters, directory: directory)
                var runner = try NetworkRunner(
                    .init(plan: plan, executables: programs.directory, ownExecutable: programs.own, jsonPath: self.json)
                )
                exitCode = try await runner.run(until: signals)
            } catch {
                directory.remove()
                throw error
            }
        }
        if exitCode != 0 { throw ExitCode(exitCode) }
    }
}
