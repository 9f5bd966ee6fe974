import OnionDirectory
package import ThorDaemon

/// What each daemon of a test network is called and started with. Everything is on loopback, with ports that the system
/// picks, except where the proxy listens.
package struct NetworkPlan: Sendable {
    package let routerCount: Int
    package let proxyListen: HostPort
    package let logLevel: String
    package let directory: NetworkDirectory
    private let parameters: NetworkParameters

    /// - Parameter parameters: network parameters as `NAME=VALUE`, over those of a test network.
    /// - Throws: ``OperatorError`` for one that is not known, out of range, or does not fit with another; for
    ///   a place to listen that is no address, or that other machines can reach.
    package init(
        routerCount: Int, proxyListen: HostPort, logLevel: String, parameters: [String] = [],
        directory: NetworkDirectory
    ) throws(OperatorError) {
        guard proxyListen.isAddress else {
            throw OperatorError(
                "--listen wants an address, and \(proxyListen) is none",
                advice: "Give one such as 127.0.0.1:1080 or [::1]:1080", status: .usage)
        }
        guard proxyListen.isLoopback else {
            throw OperatorError(
                "\(proxyListen) can be reached from other machines, and the proxy of a test network is for this one",
                advice: "Listen on 127.0.0.1 or [::1]", status: .usage)
        }
        self.routerCount = routerCount
        self.proxyListen = proxyListen
        self.logLevel = logLevel
        self.directory = directory
        do throws(DirectoryError) {
            self.parameters = try NetworkParameters.testNetwork.setting(parameters)
        } catch {
            throw OperatorError(
                "--parameter: \(error)", advice: "'thor-directory --parameter help' lists names, defaults and ranges",
                status: .configuration)
        }
    }

    /// The nickname of a router, different for each.
    package static func nickname(_ index: Int) -> String {
        let name = self.names[index % self.names.count].nickname
        return index < self.names.count ? name : "\(name)\(index / self.names.count + 1)"
    }

    /// The country that a router says it is in, two letters. Of the first routers no two share one.
    package static func country(_ index: Int) -> String { self.names[index % self.names.count].country }

    /// The loopback address that a router's connections leave from, different for each, so that a server on this machine sees
    /// which exit a connection came by.
    package static func exitSource(_ index: Int) -> String { "127.0.0.\(index + 2)" }

    package func directoryArguments() -> [String] {
        [self.directory.privateKeyPath(.directory), "--listen", "127.0.0.1:0", "--open-registration"]
            + self.parameters.assignments.flatMap { ["--parameter", $0] }
            + self.commonArguments(.directory)
    }

    package func routerArguments(_ index: Int, directoryAddress: String) -> [String] {
        [
            directoryAddress, self.directory.directoryPublicKeyPath, self.directory.privateKeyPath(.router(index)),
            "--listen", "127.0.0.1:0", "--nickname", Self.nickname(index), "--country", Self.country(index),
            "--exit-source", Self.exitSource(index),
            // Loopback, which the standard rules close; they follow.
            "--exit-policy", "accept 127.0.0.0/8:*", "--exit-policy", "accept [::1]/128:*",
        ] + self.commonArguments(.router(index))
    }

    package func proxyArguments(directoryAddress: String) -> [String] {
        [directoryAddress, self.directory.directoryPublicKeyPath, "--listen", "\(self.proxyListen)"]
            + self.commonArguments(.proxy)
    }

    private func commonArguments(_ role: DaemonRole) -> [String] {
        ["--state", self.directory.daemonPath(role), "--log-level", self.logLevel, "--exit-with-parent"]
    }

    private static let names: [(nickname: String, country: String)] = [
        ("Asgard", "SE"), ("Bifrost", "NO"), ("Fensalir", "DK"), ("Gimle", "IS"), ("Himinbjorg", "FI"),
        ("Idavoll", "DE"), ("Jotunheim", "CH"), ("Midgard", "NL"), ("Nidavellir", "FR"), ("Noatun", "CA"),
        ("Sessrumnir", "JP"), ("Thrudvang", "BR"), ("Utgard", "ZA"), ("Valaskjalf", "NZ"), ("Vanaheim", "IE"),
        ("Vigrid", "PT"), ("Yggdrasil", "AT"), ("Alfheim", "BE"), ("Breidablik", "EE"), ("Glitnir", "LV"),
    ]
}
