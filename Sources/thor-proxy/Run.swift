import ArgumentParser
import Confinement
import Foundation
import ProxyFrontend
import ThorDaemon

/// `thor-proxy run -- COMMAND`: run one command with the proxy, and where that may be, with nothing else.
struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a command that uses the running proxy, and where it can be has no other way out.",
        usage: "thor-proxy run [options] -- COMMAND [ARGUMENT]...",
        discussion: """
            Sets the variables by which programs are told to use a proxy (ALL_PROXY, http_proxy, https_proxy and others), \
            and ends as the command does. Signals sent to it go to the command.

            On Linux the command also gets a network namespace of its own: there is only loopback in it, and on that only \
            the proxy's port. A program that does not mind the variables then reaches nothing, and looks up no name; that \
            includes servers on this machine. Where the system allows no namespace the command is run all the same, and a \
            line on standard error says that it could go round the proxy; --require-isolation refuses instead.

            It is no prison: files are shared, and so are Unix sockets. A program that means to get out can ask another \
            one, over such a socket, to connect for it. And some do so as they always do, when one like them is running \
            already: a browser whose profile is open, gpg (dirmngr), ssh with ControlMaster, terminals that the desktop \
            starts (gnome-terminal). What they then do goes round the proxy. End the running one first, or tell them not \
            to: firefox --no-remote --profile DIR, chromium --user-data-dir=DIR, gpgconf --kill dirmngr, ssh -S none.
            """)

    @Flag(help: "Do not run the command where it could go round the proxy.")
    var requireIsolation = false

    @Flag(help: "Only set the variables: the command can reach servers on this machine, and go round the proxy.")
    var noIsolation = false

    @Option(
        help: ArgumentHelp(
            "The user name that the command's connections have: country-se, exit-FINGERPRINT, or anything, for circuits "
                + "of their own.", valueName: "name"))
    var user: String?

    @Option(help: ArgumentHelp("The file with the password of a proxy that wants one.", valueName: "file"))
    var passwordFile: String?

    @Option(
        help: ArgumentHelp(
            "The state directory of the proxy to use. (default: \(StateDirectory.defaultText(role: "proxy")))",
            valueName: "dir"))
    var state: String?

    @Argument(parsing: .postTerminator, help: ArgumentHelp("The command, and what it is given.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        guard !self.command.isEmpty else {
            throw ValidationError("Say what to run: thor-proxy run -- COMMAND [ARGUMENT]...")
        }
        guard !(self.requireIsolation && self.noIsolation) else {
            throw ValidationError("--require-isolation and --no-isolation exclude each other.")
        }
    }

    func run() async throws {
        // Those that the command is to have as well; everything that is opened later is ours alone.
        let given = ConfinedCommand.openDescriptors()
        var code: Int32 = 0
        try await Daemon.run(ThorProxy.name, forbidsCoreDumps: false) {
            let (status, _) = try await StatusQuery.ask(stateDirectory: ThorProxy.stateDirectory(self.state))
            let proxy = try self.proxy(status)
            code = try await self.run(proxy, password: try self.password(status), keeping: given)
        }
        if code != 0 { throw ExitCode(code) }
    }

    private func run(_ proxy: Proxy, password: String?, keeping given: Set<Int32>) async throws -> Int32 {
        // In a namespace of its own every port is free, the proxy's too.
        let port = proxy.port ?? Self.insidePort
        let variables = ProxyVariables(port: port, userName: self.user, password: password)
        let environment = variables.applied(
            to: ProcessInfo.processInfo.environment, hasNetcat: Self.isInPath("nc.openbsd"))
        if !self.noIsolation {
            do throws(ConfinedCommand.Failure) {
                let command = try ConfinedCommand(
                    self.command, environment: environment, isolatedPort: port, keeping: given)
                return try await self.serve(command, proxy)
            } catch {
                guard case .cannotIsolate(let why) = error else { throw self.operatorError(error) }
                if self.requireIsolation {
                    throw OperatorError(
                        "\(self.command[0]) was not run: it could go round the proxy, as \(why)",
                        advice: "Allow user namespaces, run as root, or leave --require-isolation out", status: .osError
                    )
                }
                Self.say("\(self.command[0]) could go round the proxy, as \(why)")
            }
        }
        guard proxy.port != nil else {
            throw OperatorError(
                "the proxy listens on no port that programs can be told of",
                advice: "Start it with --listen 127.0.0.1:PORT", status: .configuration)
        }
        do throws(ConfinedCommand.Failure) {
            let command = try ConfinedCommand(
                self.command, environment: environment, isolatedPort: nil, keeping: given)
            return await command.wait()
        } catch {
            throw self.operatorError(error)
        }
    }

    /// Carry the connections of a command that can make none itself, until it ends.
    private func serve(_ command: ConfinedCommand, _ proxy: Proxy) async throws(ConfinedCommand.Failure) -> Int32 {
        guard let listener = command.listener else { return await command.wait() }
        FileDescriptorLimit.raise()
        let forwarder: PortForwarder?
        do {
            forwarder = try await PortForwarder.serve(listener, to: proxy.target)
        } catch {
            Self.say("the command cannot reach the proxy: \(error)")
            forwarder = nil
        }
        let code = await command.wait()
        await forwarder?.stop()
        return code
    }

    // MARK: The proxy

    private struct Proxy {
        var target: PortForwarder.Target
        /// nil: only a Unix socket.
        var port: UInt16?
    }

    /// What the command sees of a proxy that has no port.
    private static let insidePort: UInt16 = 1080

    private func proxy(_ status: ProxyStatus) throws(OperatorError) -> Proxy {
        for listener in status.listeners {
            guard let place = HostPort(argument: listener), let port = place.port,
                place.host == "127.0.0.1" || place.host == "0.0.0.0"
            else { continue }
            return Proxy(target: .loopback(port: port), port: port)
        }
        for listener in status.listeners where listener.hasPrefix(ProxyListenAddress.unixPrefix) {
            return Proxy(
                target: .unix(path: String(listener.dropFirst(ProxyListenAddress.unixPrefix.count))), port: nil)
        }
        throw OperatorError(
            "the proxy listens neither on 127.0.0.1 nor on a Unix socket",
            advice: "Start it with --listen 127.0.0.1:PORT", status: .configuration)
    }

    private func password(_ status: ProxyStatus) throws(OperatorError) -> String? {
        if let passwordFile { return String(decoding: try KeyLoading.password(passwordFile), as: UTF8.self) }
        guard !status.wantsPassword else {
            throw OperatorError(
                "the proxy wants a password", advice: "Name its file with --password-file", status: .permission)
        }
        return nil
    }

    private func operatorError(_ failure: ConfinedCommand.Failure) -> any Error {
        switch failure {
        case .notExecuted(let errno):
            Self.say("cannot run \(self.command[0]): \(String(cString: strerror(errno)))")
            // As shells and env do.
            return ExitCode(errno == ENOENT ? 127 : 126)
        case .system(let errno):
            return OperatorError(
                "cannot run \(self.command[0]): \(String(cString: strerror(errno)))", advice: "Try again",
                status: .osError)
        case .cannotIsolate(let why): return OperatorError(why, advice: "", status: .osError)
        }
    }

    /// On standard error, if that takes it: what is to be run or told does not depend on it.
    private static func say(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data("thor-proxy: \(text)\n".utf8))
    }

    private static func isInPath(_ name: String) -> Bool {
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
            .contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }
    }
}
