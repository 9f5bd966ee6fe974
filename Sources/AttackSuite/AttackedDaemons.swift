import Foundation
import HostilePeers
import NIOConcurrencyHelpers
import OnionAddress
import OnionCrypto
package import ThorDaemon
import ThorTestnet

/// The network under attack: real daemons, each a process, in a directory that is removed with them.
package struct AttackedDaemons: Sendable {
    package struct Configuration: Sendable {
        /// The directory in which the daemons' executables are, and this program.
        package var executables: String
        package var ownExecutable: String
        package var logLevel: LogLevel
        /// Shows a line to the person at the terminal; false if nobody reads it any more.
        package var say: @Sendable (String) -> Bool

        package init(
            executables: String, ownExecutable: String, logLevel: LogLevel, say: @escaping @Sendable (String) -> Bool
        ) {
            self.executables = executables
            self.ownExecutable = ownExecutable
            self.logLevel = logLevel
            self.say = say
        }
    }

    /// Guard, middle and exit, and one that can be left out.
    private static let routerCount = 4
    /// How long the network may take to start.
    private static let startSeconds = 60.0

    let arena: Arena
    let starter: DaemonStarter
    private let stops: AsyncStream<Void>.Continuation
    private let run: Task<Int32, any Error>

    /// What becomes of the daemons while they start.
    private struct Start: Sendable {
        var network: NetworkDescription?
        /// What was said to the person at the terminal.
        var lines: [String] = []
        var hasEnded = false
    }

    /// The daemons have ended before all were ready; they have said why.
    private struct EndedBefore: Error {}

    /// Start the network, and wait until it serves.
    ///
    /// - Throws: ``OperatorError`` that has what the daemons said, if it does not come up.
    package static func start(_ configuration: Configuration) async throws -> AttackedDaemons {
        let directory = try NetworkDirectory(path: nil)
        let (stops, stop) = AsyncStream.makeStream(of: Void.self)
        let state = NIOLockedValueBox(Start())
        let run: Task<Int32, any Error>
        do {
            let plan = try NetworkPlan(
                routerCount: Self.routerCount, proxyListen: HostPort(host: "127.0.0.1", port: 0),
                logLevel: configuration.logLevel.rawValue, parameters: AttackedParameters.assignments,
                directory: directory)
            let runner = try NetworkRunner(
                .init(
                    plan: plan, executables: configuration.executables, ownExecutable: configuration.ownExecutable,
                    jsonPath: nil, onReady: { network in state.withLockedValue { $0.network = network } },
                    say: { line in state.withLockedValue { $0.lines.append(line) } }))
            run = Task {
                var runner = runner
                defer { state.withLockedValue { $0.hasEnded = true } }
                return try await runner.run(until: stops)
            }
        } catch {
            directory.remove()
            throw error
        }
        do {
            try await Wait.until("the network is ready", seconds: Self.startSeconds) {
                state.withLockedValue { $0.network != nil || $0.hasEnded }
            }
            guard let network = state.withLockedValue({ $0.network }) else { throw EndedBefore() }
            let starter = try DaemonStarter(
                executables: configuration.executables, directory: directory.path, logLevel: configuration.logLevel,
                watching: Self.processes(network))
            return AttackedDaemons(
                arena: try await Self.arena(network, directory, starter), starter: starter, stops: stop, run: run)
        } catch {
            stop.yield()
            let result = await run.result
            try Task.checkCancellation()
            var said = state.withLockedValue { $0.lines }
            if !(error is EndedBefore) { said.append("\(error)") }
            if case .failure(let failure) = result { said.append("\(failure)") }
            throw OperatorError(
                "the network to be attacked did not start:\n\(said.joined(separator: "\n"))", advice: "",
                status: .unavailable)
        }
    }

    /// Stop everything; the directory goes as well.
    package func stop() async {
        await self.starter.stopAll()
        self.stops.yield()
        _ = await self.run.result
    }

    private static func processes(_ network: NetworkDescription) -> [ProcessWatch] {
        let daemons =
            [
                (DaemonRole.directory.description, network.directory.pid),
                (DaemonRole.proxy.description, network.proxy.pid),
            ]
            + network.routers.map { ("router \($0.nickname)", $0.pid) }
        return daemons.compactMap { ProcessWatch(name: $0.0, processID: $0.1) }
    }

    private static func arena(
        _ network: NetworkDescription, _ directory: NetworkDirectory, _ starter: DaemonStarter
    ) async throws -> Arena {
        let secret = try KeyFile.readPrivate(directory.privateKeyPath(.directory), passphrase: { nil })
        guard let endpoint = Endpoint(network.directory.address), let proxy = Endpoint(network.socks) else {
            throw PeerError.noService("the network has no addresses")
        }
        let target = TargetNetwork(
            directory: endpoint, directoryKey: secret.publicKey,
            identities: network.routers.compactMap { Ed25519PublicKey(base64URL: $0.fingerprint) })
        return try await Arena(
            network: target, directorySecret: secret, user: HonestUser(proxy: proxy), daemons: starter)
    }
}
