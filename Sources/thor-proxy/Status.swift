import ArgumentParser
import Foundation
import ProxyFrontend
import ThorDaemon

/// `thor-proxy status`: ask the running proxy what it does.
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the running proxy's progress, traffic, guard and circuits.",
        discussion: """
            Asks over a socket in the state directory that only you can open. Traffic is what programs and the proxy say to \
            each other, a second, over the last five; in is what comes out of the network. The round trip is that to the \
            circuit's last router: once enough has gone through it, a smoothed measurement; before, that router's answer \
            when the circuit was built, its handshake included. No destinations are shown, because the proxy does not keep \
            them, unless it was started with --reveal-destinations.
            """)

    @Flag(help: "Print one line of JSON.")
    var json = false

    @Flag(help: "Show it anew every second, until Ctrl-C, the reader's or the proxy's end.")
    var watch = false

    @Flag(help: "List the exits instead: country, nickname, fingerprint.")
    var exits = false

    @Flag(help: "List all routers instead: country, nickname, fingerprint, address, exit or not, version.")
    var routers = false

    @Option(
        help: ArgumentHelp(
            "The state directory of the proxy to ask. (default: \(StateDirectory.defaultText(role: "proxy")))",
            valueName: "dir"))
    var state: String?

    func validate() throws {
        guard [self.json, self.exits, self.routers, self.watch].count(where: { $0 }) <= 1 else {
            throw ValidationError("Of --json, --exits, --routers and --watch only one makes sense at a time.")
        }
    }

    func run() async throws {
        try await Daemon.run(ThorProxy.name) {
            let directory = ThorProxy.stateDirectory(self.state)
            repeat {
                let (status, json) = try await StatusQuery.ask(stateDirectory: directory)
                if self.exits {
                    print(StatusText.exits(status.client))
                } else if self.routers {
                    print(StatusText.routers(status.client))
                } else if self.json {
                    print(json)
                } else {
                    let text = StatusText.lines(status, now: UInt64(max(0, Date().timeIntervalSince1970)))
                    // Nobody watches any more.
                    guard StandardOutput.line(self.watch ? "\(Self.clearScreen)\(text)" : text) else { return }
                }
                if self.watch { try await Task.sleep(for: .seconds(1)) }
            } while self.watch
        }
    }

    /// To the top left corner, then clear: without a flicker where nothing has changed. A file gets empty lines instead.
    private static var clearScreen: String { isatty(STDOUT_FILENO) == 1 ? "\u{1B}[H\u{1B}[2J" : "\n" }
}
