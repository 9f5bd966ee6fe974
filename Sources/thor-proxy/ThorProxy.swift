import ArgumentParser
import Foundation
import ThorDaemon

/// The proxy of the user: SOCKS on one side, circuits of onion routers on the other.
///
/// - Source: DESIGN §10, §11
@main
struct ThorProxy: AsyncParsableCommand {
    static let name = "thor-proxy"
    static let configuration = CommandConfiguration(
        commandName: Self.name,
        abstract: "Carry programs' connections through three onion routers.",
        usage: """
            thor-proxy DS-ADDRESS DS-PUBLIC-KEY-FILE [--listen ADDRESS:PORT | --listen unix:PATH]... [--state DIR]
            thor-proxy status [--json | --exits | --routers | --watch] [--state DIR]
            thor-proxy trace URL [--json] [--state DIR]
            thor-proxy run [--state DIR] -- COMMAND [ARGUMENT]...
            thor-proxy newnym [--state DIR]
            """,
        discussion: """
            DS-ADDRESS is the directory server of the network, as host or host:port, and DS-PUBLIC-KEY-FILE its public \
            key. When 'ready' appears, point programs at the port as SOCKS5, SOCKS4a or HTTP proxy:

              curl --proxy socks5h://127.0.0.1:1080 https://example.com/

            'thor-proxy help serve' shows all options.
            """,
        version: "thor-proxy \(DaemonVersion.number)",
        subcommands: [Serve.self, Status.self, Trace.self, Run.self, NewIdentity.self],
        defaultSubcommand: Serve.self)

    /// Where the proxy that is asked keeps its socket.
    static func stateDirectory(_ option: String?) -> String {
        option ?? StateDirectory.defaultPath(role: "proxy", environment: ProcessInfo.processInfo.environment)
    }
}
