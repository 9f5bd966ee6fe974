import ArgumentParser
import ThorDaemon

/// A whole network on this machine, in one command.
@main
struct ThorTestnetCommand: AsyncParsableCommand {
    static let name = "thor-testnet"
    static let configuration = CommandConfiguration(
        commandName: Self.name,
        abstract: "Run a whole Thor network on this machine.",
        usage: """
            thor-testnet [--routers N] [--listen ADDRESS:PORT] [--state DIR] [--json FILE] [--parameter NAME=VALUE]...
            thor-testnet attack [NAME]... [--list] [--json FILE]
            """,
        discussion: """
            Starts a directory server, some routers and a proxy as separate processes on loopback, and says how to use \
            them. Ctrl-C stops them all. The exit routers reach every address, loopback included: this is for trying \
            and testing, and hides nothing from anybody.

            'thor-testnet help run' shows all options. 'thor-testnet attack' attacks a network of its own, and says \
            whether it held.
            """,
        version: DaemonVersion.number,
        subcommands: [Run.self, AttackCommand.self],
        defaultSubcommand: Run.self)
}
