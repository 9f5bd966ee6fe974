import ArgumentParser
import DirectoryServer
import NIOCore
import NIOPosix
import OnionDirectory
import ThorDaemon

/// The command line of the directory server.
@main
struct ThorDirectory: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "thor-directory",
        abstract: "Run the directory server of a Thor network.",
        usage: """
            thor-directory DS-PRIVATE-KEY-FILE (--routers FILE | --open-registration) [options]
            thor-directory --parameter help
            """,
        discussion: """
            The directory server keeps the list of onion routers, watches that they live, and publishes the list, signed \
            with the private key. Give its public half ('thor-keys public') to everybody who runs a router or a proxy.

            Who may take part is either in a file, one router's fingerprint a line ('thor-keys public' shows it; '#' \
            starts a comment; a nickname may follow), which is read again when it changes:
              thor-directory ds.key --routers routers.txt
            or, for a network that you try out, anybody:
              thor-directory ds.key --open-registration
            """,
        version: DaemonVersion.number)

    @Argument(
        help: ArgumentHelp(
            "The directory's private key, made with 'thor-keys generate'.", valueName: "ds-private-key-file"))
    var keyFile: String?

    @Option(
        help: ArgumentHelp("The address and port to listen on; port 0 takes a free one.", valueName: "address:port"))
    var listen = HostPort(host: "0.0.0.0", port: 9030)

    @Option(help: ArgumentHelp("The routers that may register: a fingerprint a line.", valueName: "file"))
    var routers: String?

    @Flag(help: "Let any router register.")
    var openRegistration = false

    @Option(
        name: .customLong("parameter"), parsing: .singleValue,
        help: ArgumentHelp("Set a network parameter. '--parameter help' lists them.", valueName: "name=value"))
    var parameters: [String] = []

    @Option(
        help: ArgumentHelp(
            "Where the server keeps its state. (default: \(StateDirectory.defaultText(role: "directory")))",
            valueName: "directory"))
    var state: String?

    @OptionGroup var daemon: DaemonOptions

    func validate() throws {
        // It is needed for all but the list of parameters.
        guard self.keyFile != nil || self.parameters.contains("help") else {
            throw ValidationError("Missing expected argument '<ds-private-key-file>'")
        }
    }

    func run() async throws {
        try await Daemon.run("thor-directory") {
            if self.parameters.contains("help") { throw CleanExit.message(Self.parameterTable) }
            let routers = try self.routerSource()
            let parameters = try self.networkParameters()
            guard self.listen.isAddress else {
                throw OperatorError(
                    "--listen wants an address, and \(self.listen) is none",
                    advice: "Give one such as 0.0.0.0:9030 or [::]:9030", status: .usage)
            }
            let directoryKey = try KeyLoading.privateKey(self.keyFile ?? "")
            let state = try StateDirectory(path: self.state, role: "directory")
            let logger = self.daemon.bootstrapLogging(label: "thor-directory")
            let watchdog = Watchdog()
            let group = MultiThreadedEventLoopGroup.singleton
            watchdog.watch(Array(group.makeIterator()))
            var configuration = DirectoryServer.Configuration(
                host: self.listen.host, port: self.listen.port ?? 9030, directoryKey: directoryKey,
                linkKey: try KeyLoading.ownKey(state.file("link.key")), routers: routers, parameters: parameters,
                databasePath: state.file("registry.sqlite"))
            LockedMemory.check(logger: logger)
            configuration.connectionLimits.total = FileDescriptorLimit.connections(
                upTo: configuration.connectionLimits.total)
            let server = try DirectoryServer(
                configuration: configuration, group: group, logger: logger, onTick: watchdog.part()
            ) { address in
                StandardOutput.listening("\(HostPort(address))")
                StandardOutput.ready()
                ServiceManager.ofProcess.ready("listening on \(HostPort(address))")
            }
            try await Daemon.serve([server], state: state, watchdog: watchdog, options: self.daemon, logger: logger)
        }
    }

    private func routerSource() throws(OperatorError) -> DirectoryServer.RouterSource {
        switch (self.routers, self.openRegistration) {
        case (.some(let path), false): return .file(path)
        case (nil, true): return .anyone
        case (.some, true):
            throw OperatorError(
                "--routers and --open-registration exclude each other", advice: "Leave one of them out", status: .usage)
        case (nil, false):
            throw OperatorError(
                "it is not said which routers may register",
                advice: "Give --routers FILE, with a fingerprint a line, or --open-registration to let anybody in",
                status: .usage)
        }
    }

    private func networkParameters() throws(OperatorError) -> NetworkParameters {
        do throws(DirectoryError) {
            return try NetworkParameters().setting(self.parameters)
        } catch {
            throw OperatorError(
                "--parameter: \(error)", advice: "'--parameter help' lists names, defaults and ranges",
                status: .configuration)
        }
    }

    private static var parameterTable: String {
        NetworkParameter.allCases.map { parameter in
            let definition = parameter.definition
            let range = "\(definition.range.lowerBound)…\(definition.range.upperBound)"
            return "\(parameter.rawValue)=\(definition.default)  (\(range), \(definition.unit))"
        }
        .joined(separator: "\n")
    }
}

extension HostPort {
    init(_ address: SocketAddress) {
        self.init(host: address.ipAddress ?? "", port: address.port.flatMap { UInt16(exactly: $0) })
    }
}
