import ArgumentParser
import Logging
import NIOCore
import NIOPosix
import OnionClient
import OnionCrypto
import ProxyFrontend
import ServiceLifecycle
import ThorDaemon

/// `thor-proxy DS-ADDRESS DS-PUBLIC-KEY-FILE`: run the proxy until it is told to stop.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Be the proxy (what 'thor-proxy' does unless told otherwise).",
        usage: "thor-proxy DS-ADDRESS DS-PUBLIC-KEY-FILE [options]",
        discussion: """
            Prints 'listening ADDRESS' for each port, progress in percent with what it waits on, and 'ready' once a \
            circuit is open. Connections that come earlier wait for a circuit. Only programs on this machine can use the \
            proxy, unless --allow-non-loopback is given together with a password.
            """)

    private static let directoryPort: UInt16 = 9030
    private static let listenPort: UInt16 = 1080

    @Argument(help: ArgumentHelp("The directory server, as host or host:port (port 9030).", valueName: "ds-address"))
    var directory: HostPort

    @Argument(help: ArgumentHelp("The directory server's public key.", valueName: "ds-public-key-file"))
    var directoryKeyFile: String

    @Option(
        help: ArgumentHelp(
            """
            Where to listen; may be given several times. Port 0 lets the system choose; unix:PATH is a Unix socket that \
            only you can open. (default: 127.0.0.1:1080)
            """,
            valueName: "address:port|unix:path"))
    var listen: [ListenOption] = []

    @Flag(help: "Listen on addresses that other machines can reach; needs --password-file.")
    var allowNonLoopback = false

    @Option(
        help: ArgumentHelp(
            """
            Serve only programs that give this password (the first line of the file, which only you may be able to \
            read), under any user name, by SOCKS5 or HTTP.
            """, valueName: "file"))
    var passwordFile: String?

    @Option(
        help: ArgumentHelp(
            """
            Let streams out in this country only, as two letters; or not-us, anywhere but there. Programs can narrow it \
            by a user name such as country-se.
            """, valueName: "country"))
    var country: String?

    @Flag(help: "Never let streams to different destinations share a circuit.")
    var isolateDestination = false

    @Flag(help: "Refuse destinations by address: a program that sends them may have looked the name up by itself.")
    var refuseAddresses = false

    @Flag(
        help: """
            Keep where open streams go, and show it in 'thor-proxy status'. The risk: whoever gets hold of your account, or \
            sees your screen, learns where you go.
            """)
    var revealDestinations = false

    @Option(
        help: ArgumentHelp(
            "Where to keep consensus and guards. (default: \(StateDirectory.defaultText(role: "proxy")))",
            valueName: "dir"))
    var state: String?

    @OptionGroup var options: DaemonOptions

    func run() async throws {
        try await Daemon.run(ThorProxy.name) {
            let server = try self.serverConfiguration()
            let exit = try self.exitWish()
            let directoryKey = try KeyLoading.publicKey(self.directoryKeyFile)
            let state = try StateDirectory(path: self.state, role: "proxy")
            let logger = self.options.bootstrapLogging(label: ThorProxy.name)

            if self.revealDestinations {
                logger.warning("destinations are shown in the status: whoever can ask for it learns where you go")
            }

            // Everything of one client is on one loop, so there is one thread.
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            var configuration = OnionClient.Configuration(
                directoryHost: self.directory.host, directoryPort: self.directory.port ?? Self.directoryPort,
                directoryKey: directoryKey, stateDirectory: state.path, exit: exit)
            configuration.revealsDestinations = self.revealDestinations
            let client = try OnionClient(
                configuration: configuration,
                group: group, logger: logger,
                onAlarm: { alarm in logger.log(level: alarm.isAttack ? .critical : .error, "\(alarm)") })
            let watchdog = Watchdog()
            watchdog.watch([client.eventLoop])
            let proxy = ProxyServer(
                configuration: server, client: client, logger: logger,
                onListening: { StandardOutput.listening("\($0)") })
            try await Daemon.serve(
                [
                    ClientService(client: client),
                    ProgressReport(progress: client.progress),
                    StatusServer(
                        stateDirectory: state.path, eventLoop: client.eventLoop, logger: logger,
                        services: StatusServices(
                            status: { proxy.status(client.status()) }, newIdentity: { client.newIdentity() },
                            trace: { client.trace($0) })),
                    HangupWatch(client: client),
                    proxy,
                ],
                watchdog: watchdog, options: self.options, logger: logger)
            try await group.shutdownGracefully()
            // The lock is held until here.
            withExtendedLifetime(state) {}
        }
    }

    func serverConfiguration() throws -> ProxyServer.Configuration {
        let access = try self.passwordFile.map { ProxyAccess.password(try KeyLoading.password($0)) } ?? .open
        var policy = ProxyPolicy()
        policy.isolatesDestinations = self.isolateDestination
        policy.refusesAddresses = self.refuseAddresses
        let addresses = self.listen.isEmpty ? [.address(HostPort(host: "127.0.0.1", port: nil))] : self.listen
        var limits = ProxyLimits()
        limits.connectionCount = FileDescriptorLimit.connections(upTo: limits.connectionCount)
        return ProxyServer.Configuration(
            listenAddresses: try addresses.map { address in
                switch address {
                case .address(let address):
                    try ProxyListenAddress(
                        host: address.host, port: address.port ?? Self.listenPort,
                        allowsNonLoopback: self.allowNonLoopback, access: access)
                case .unix(let path): try ProxyListenAddress(unixPath: path)
                }
            },
            access: access, limits: limits, policy: policy)
    }

    private func exitWish() throws(OperatorError) -> ExitWish {
        guard let country else { return .any }
        guard let wish = ExitWish(country: country) else {
            throw OperatorError(
                "--country wants two letters, and \(country) is something else",
                advice: "Give one such as se, or not-us",
                status: .usage)
        }
        return wish
    }
}

/// The client as a service of its own.
struct ClientService: Service, CustomStringConvertible {
    let client: OnionClient

    var description: String { "client" }

    func run() async throws { try await self.client.run() }
}
