import ArgumentParser
import OnionClient
import ProxyFrontend
import ServiceLifecycle
import ThorDaemon
import UnixSignals

/// `thor-proxy newnym`: a new identity for the running proxy.
struct NewIdentity: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "newnym",
        abstract: "Let the running proxy carry new connections on new circuits only.",
        discussion: """
            Connections that are open go on. The guard stays: changing it would help nobody but an attacker. SIGHUP to \
            the proxy does the same.
            """)

    @Option(
        help: ArgumentHelp(
            "The state directory of the proxy to tell. (default: \(StateDirectory.defaultText(role: "proxy")))",
            valueName: "dir"))
    var state: String?

    func run() async throws {
        try await Daemon.run(ThorProxy.name) {
            try await StatusQuery.newIdentity(stateDirectory: ThorProxy.stateDirectory(self.state))
        }
    }
}

/// Gives the client a new identity at every SIGHUP.
struct HangupWatch: Service, CustomStringConvertible {
    let client: OnionClient

    var description: String { "hang-up watch" }

    func run() async throws {
        let client = self.client
        for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() { client.newIdentity() }
    }
}
