import ArgumentParser
import DirectoryClient
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionRouter
import ThorDaemon

/// The command line of an onion router.
///
/// - Source: DESIGN §11
@main
struct ThorRouter: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "thor-router",
        abstract: "Run an onion router of a Thor network.",
        discussion: """
            The router registers with the directory server and relays the circuits of the network's users; unless \
            --no-exit is given, it also opens their connections to the Internet. Its private key is its identity: make it \
            once with 'thor-keys generate', keep it, and give its fingerprint ('thor-keys public' shows it) to \
            whoever runs the directory server.

              thor-router ds.example.org ds.pub or.key --nickname Heron --country SE

            'ready' appears once the router is in the list that clients get.
            """,
        version: DaemonVersion.number)

    private static let directoryPort: UInt16 = 9030
    private static let listenPort: UInt16 = 9001

    @Argument(
        help: ArgumentHelp("The directory server, as host or host:port (port 9030).", valueName: "ds-address"))
    var directory: HostPort

    @Argument(help: ArgumentHelp("The directory server's public key.", valueName: "ds-public-key-file"))
    var directoryKeyFile: String

    @Argument(help: ArgumentHelp("This router's private key.", valueName: "or-private-key-file"))
    var keyFile: String

    @Option(
        help: ArgumentHelp("The address and port to listen on; port 0 takes a free one.", valueName: "address:port"))
    var listen = HostPort(host: "0.0.0.0", port: Self.listenPort)

    @Option(
        help: ArgumentHelp(
            "Where others reach this router, if that is not an address of the machine, or another port.",
            valueName: "address[:port]"))
    var advertise: HostPort?

    @Option(help: "A name for people: 1 to 32 letters, digits, '-', '_' and '.'.")
    var nickname = "Unnamed"

    @Option(help: ArgumentHelp("Where the router is, as two letters: SE, NL, JP.", valueName: "cc"))
    var country = ""

    @Option(help: "How to reach whoever runs this router.")
    var contact = ""

    @Option(
        name: .customLong("family"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            """
            The fingerprint of another router of yours; may be given several times. No circuit then uses two of them, if \
            they name each other.
            """,
            valueName: "fingerprint"))
    var family: [String] = []

    @Option(
        help: ArgumentHelp(
            "Bytes a second that this router can relay: what the directory weighs it by. It is not a limit.",
            valueName: "bytes"))
    var bandwidthRate: UInt64 = 0

    @Option(
        name: .customLong("exit-policy"), parsing: .singleValue,
        help: ArgumentHelp(
            """
            A rule 'accept|reject ADDRESS[/BITS]|*:PORT[-PORT]|*'; may be given several times, the first match wins, and \
            what none matches falls to the standard rules: the public Internet except port 25.
            """,
            valueName: "rule"))
    var exitPolicy: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            The address of this machine that users' connections leave from, where there are several. Destinations of the \
            other IP version are reached from the system's choice; from a loopback address only loopback is.
            """,
            valueName: "address"))
    var exitSource: String?

    @Flag(help: "Open no connections to the Internet for users.")
    var noExit = false

    @Option(
        name: .customLong("resolver"), parsing: .singleValue,
        help: ArgumentHelp(
            "A name server to ask instead of the system's; may be given several times.", valueName: "address:port"))
    var resolvers: [HostPort] = []

    @Option(
        help: ArgumentHelp(
            "Where the router keeps its link and onion keys. (default: \(StateDirectory.defaultText(role: "router")))",
            valueName: "directory"))
    var state: String?

    @OptionGroup var daemon: DaemonOptions

    func run() async throws {
        try await Daemon.run("thor-router") {
            let options = try self.validated()
            let directoryKey = try KeyLoading.publicKey(self.directoryKeyFile)
            let identityKey = try KeyLoading.privateKey(self.keyFile)
            let state = try StateDirectory(path: self.state, role: "router")
            let logger = self.daemon.bootstrapLogging(label: "thor-router")
            let watchdog = Watchdog()
            var configuration = RouterConfiguration(
                directoryHost: self.directory.host, directoryPort: self.directory.port ?? Self.directoryPort,
                directoryKey: directoryKey, identityKey: identityKey, listen: options.listen,
                advertise: options.advertise, nickname: self.nickname, country: self.country.uppercased(),
                contact: self.contact, family: options.family, bandwidthRate: self.bandwidthRate,
                exitPolicy: options.exitPolicy, exitSource: options.exitSource, resolvers: options.resolvers,
                stateDirectory: state.path, software: DaemonVersion.software)
            configuration.descriptorCount = FileDescriptorLimit.raise()
            let router = OnionRouter(
                configuration: configuration, logger: logger, onStart: { watchdog.watch($0) },
                onListening: { address in
                    // It has made or read its link and onion keys by now.
                    LockedMemory.check(logger: logger)
                    StandardOutput.listening("\(address)")
                    ServiceManager.ofProcess.status("listening on \(address); not yet in the consensus")
                },
                onReady: {
                    StandardOutput.ready()
                    ServiceManager.ofProcess.ready("\(RouterStanding.listed)")
                },
                onStanding: { ServiceManager.ofProcess.status("\($0)") })
            do {
                try await Daemon.serve([router], state: state, watchdog: watchdog, options: self.daemon, logger: logger)
            } catch let error as KeyFileError {
                throw KeyLoading.ownKeyError(error)
            } catch let error as DirectoryConnectionError {
                guard case .refused(.notAllowed, _) = error else { throw error }
                throw OperatorError(
                    "\(error)", advice: "The fingerprint is \(identityKey.publicKey.base64URL)",
                    status: .wrongProtocol)
            }
        }
    }

    private struct Options {
        var listen: Endpoint
        var advertise: RouterConfiguration.Advertised?
        var exitPolicy: ExitPolicy
        var exitSource: IPAddress?
        var resolvers: [Endpoint]
        var family: [Ed25519PublicKey]
    }

    private func validated() throws(OperatorError) -> Options {
        guard RouterDescriptor.isValidNickname(self.nickname) else {
            throw .usage(
                "--nickname \(self.nickname)", advice: "Give 1 to 32 letters A–Z and a–z, digits, '-', '_' and '.'")
        }
        guard self.country.isEmpty || RouterDescriptor.isValidCountry(self.country.uppercased()) else {
            throw .usage("--country \(self.country)", advice: "Give two letters, such as SE")
        }
        guard self.contact.utf8.count <= DirectoryLimits.contactByteCount else {
            throw .usage(
                "--contact has \(self.contact.utf8.count) bytes; at most \(DirectoryLimits.contactByteCount)",
                advice: "")
        }
        guard RouterDescriptor.isPrintable(self.contact) else {
            throw .usage("--contact has a line break, or other characters that do not show", advice: "Leave them out")
        }
        guard let listen = Endpoint(self.listen, defaultPort: Self.listenPort) else {
            throw .usage("--listen \(self.listen)", advice: "Give an address such as 0.0.0.0:9001 or [::]:9001")
        }
        let advertise = self.advertise.flatMap { text in
            IPAddress(text.host).map { RouterConfiguration.Advertised(address: $0, port: text.port) }
        }
        if let text = self.advertise, advertise == nil || text.port == 0 {
            throw .usage("--advertise \(text)", advice: "Give an address such as 192.0.2.7 or 192.0.2.7:9001")
        }
        var resolvers: [Endpoint] = []
        for resolver in self.resolvers {
            guard let endpoint = Endpoint(resolver, defaultPort: 53) else {
                throw .usage("--resolver \(resolver)", advice: "Give a name server's address, such as 192.0.2.53:53")
            }
            resolvers.append(endpoint)
        }
        return Options(
            listen: listen, advertise: advertise, exitPolicy: try self.policy(), exitSource: try self.source(),
            resolvers: resolvers, family: try self.familyKeys())
    }

    private func source() throws(OperatorError) -> IPAddress? {
        guard let text = self.exitSource else { return nil }
        guard let address = IPAddress(text) else {
            throw .usage("--exit-source \(text)", advice: "Give an address of this machine, such as 192.0.2.7")
        }
        guard OnionRouter.isOwnAddress(address) else {
            throw .usage(
                "--exit-source \(text) is no address of this machine", advice: "'ip address' lists those that are")
        }
        return address
    }

    private func familyKeys() throws(OperatorError) -> [Ed25519PublicKey] {
        guard self.family.count <= RouterDescriptor.familyLimit else {
            throw .usage(
                "\(self.family.count) times --family", advice: "Name at most \(RouterDescriptor.familyLimit) routers")
        }
        var keys: [Ed25519PublicKey] = []
        for text in self.family {
            guard let key = Ed25519PublicKey(base64URL: text) else {
                throw .usage("--family \(text)", advice: "Give a fingerprint as 'thor-keys public' shows it")
            }
            keys.append(key)
        }
        return keys
    }

    func policy() throws(OperatorError) -> ExitPolicy {
        if self.noExit {
            guard self.exitPolicy.isEmpty else {
                throw .usage("--no-exit and --exit-policy exclude each other", advice: "Leave one of them out")
            }
            return .rejectAll
        }
        do throws(ExitPolicyError) {
            let rules = try ExitPolicy(parsing: self.exitPolicy)
            guard let policy = rules.followed(by: .standard) else {
                throw .tooManyRules(rules.rules.count + ExitPolicy.standard.rules.count)
            }
            return policy
        } catch {
            throw .usage("--exit-policy: \(error)", advice: "")
        }
    }
}

extension Endpoint {
    init?(_ text: HostPort, defaultPort: UInt16) {
        guard let address = IPAddress(text.host) else { return nil }
        self.init(address: address, port: text.port ?? defaultPort)
    }
}

extension OperatorError {
    static func usage(_ problem: String, advice: String) -> OperatorError {
        OperatorError(problem, advice: advice, status: .usage)
    }
}
