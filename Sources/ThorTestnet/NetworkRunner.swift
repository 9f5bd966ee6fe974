import Foundation
import Glibc
import ThorDaemon

/// Runs a test network: performs what ``NetworkSupervisor`` decides, shows it to the person at the terminal, and leaves
/// nothing behind. One task owns it; what the daemons' threads, the signals and the timers tell arrives in one stream.
package struct NetworkRunner {
    package struct Configuration: Sendable {
        package var plan: NetworkPlan
        /// The directory in which the daemons' executables are.
        package var executables: String
        /// This program, which also serves as the janitor.
        package var ownExecutable: String
        package var jsonPath: String?
        /// Called once everything runs.
        package var onReady: @Sendable (NetworkDescription) -> Void
        /// Shows a line to the person at the terminal.
        package var say: @Sendable (String) -> Void

        package init(
            plan: NetworkPlan, executables: String, ownExecutable: String, jsonPath: String?,
            onReady: @escaping @Sendable (NetworkDescription) -> Void = { _ in },
            say: @escaping @Sendable (String) -> Void = { StandardOutput.line($0) }
        ) {
            self.plan = plan
            self.executables = executables
            self.ownExecutable = ownExecutable
            self.jsonPath = jsonPath
            self.onReady = onReady
            self.say = say
        }
    }

    private enum Event: Sendable {
        case line(DaemonRole, String)
        case exited(DaemonRole, ProcessEnd)
        case janitorExited
        case stopRequested
        case graceTimerFired
        case patienceTimerFired
    }

    /// How long daemons get to end in peace. They end by themselves within 4 s.
    private static let grace = Duration.seconds(5)
    /// After how long a start-up that is not over is explained.
    private static let patience = Duration.seconds(20)

    private let configuration: Configuration
    private let keys: NetworkKeys
    private let parentPipe: Pipe
    private let events: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation
    private var supervisor: NetworkSupervisor
    private var processes: [DaemonRole: DaemonProcess] = [:]
    private var janitorPipe: Pipe?
    /// The janitor removes it, unless it ended before its time.
    private var descriptionPath: String?
    /// Why the network was stopped although it ran.
    private var failure: (any Error)?

    /// Make the keys that are not there yet.
    package init(_ configuration: Configuration) throws {
        self.configuration = configuration
        self.keys = try NetworkKeys(
            directory: configuration.plan.directory, routerCount: configuration.plan.routerCount)
        self.parentPipe = try Pipe()
        (self.events, self.continuation) = AsyncStream.makeStream(of: Event.self)
        self.supervisor = NetworkSupervisor(routerCount: configuration.plan.routerCount)
    }

    /// Run until the network has been stopped.
    ///
    /// - Parameter stops: each element asks for the end: a signal, say. The second one insists.
    /// - Returns: the exit code.
    /// - Throws: ``OperatorError`` when the description cannot be written; the network has been stopped then.
    package mutating func run<Stops: AsyncSequence & Sendable>(
        until stops: Stops
    ) async throws -> Int32 where Stops.Failure == Never {
        try self.startJanitor()
        let exitCode = await self.handleEvents(stops)
        self.configuration.plan.directory.remove()
        await self.dismissJanitor()
        if let failure { throw failure }
        return exitCode
    }

    private mutating func handleEvents<Stops: AsyncSequence & Sendable>(
        _ stops: Stops
    ) async -> Int32 where Stops.Failure == Never {
        let continuation = self.continuation
        return await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await _ in stops { continuation.yield(.stopRequested) }
            }
            group.addTask {
                try? await Task.sleep(for: Self.patience)
                continuation.yield(.patienceTimerFired)
            }
            defer { group.cancelAll() }
            var action = self.supervisor.start()
            var iterator = self.events.makeAsyncIterator()
            while true {
                if let exitCode = self.perform(action, timers: &group) { return exitCode }
                guard let event = await iterator.next() else { return ExitStatus.software.rawValue }
                action = self.handle(event)
            }
        }
    }

    private mutating func handle(_ event: Event) -> NetworkSupervisor.Action {
        switch event {
        case .line(let role, let line):
            guard let report = DaemonReport(line: line) else { return .none }
            if case .listening(let address) = report, self.supervisor.waitsFor != nil {
                self.say("  \(self.title(role)) on \(address)")
            }
            return self.supervisor.reported(role, report)
        case .exited(let role, let end):
            if let process = self.processes.removeValue(forKey: role) { self.tellJanitor("-\(process.processID)") }
            return self.supervisor.exited(role, end)
        case .stopRequested:
            return self.supervisor.stopRequested()
        case .graceTimerFired:
            return self.supervisor.graceTimerFired()
        case .patienceTimerFired:
            for role in self.supervisor.waitsFor ?? [] {
                self.say(
                    "  still waiting for \(self.title(role)); its log is \(self.configuration.plan.directory.logPath(role))"
                )
            }
            return .none
        case .janitorExited:
            // Before its time: there is nobody to wait for in the end.
            self.letJanitorGo()
            return .none
        }
    }

    /// Do what was decided; the exit code when that was to end.
    private mutating func perform(_ action: NetworkSupervisor.Action, timers: inout TaskGroup<Void>) -> Int32? {
        let plan = self.configuration.plan
        switch action {
        case .none:
            break
        case .startDirectory:
            let kept = plan.directory.isTemporary ? "removed at the end" : "kept"
            self.say(
                "Starting a test network of \(plan.routerCount) routers; state in \(plan.directory.path) (\(kept))")
            self.start(.directory, plan.directoryArguments())
        case .startRouters(let count, let directoryAddress):
            for index in 0..<count {
                self.start(.router(index), plan.routerArguments(index, directoryAddress: directoryAddress))
            }
        case .startProxy(let directoryAddress):
            plan.directory.forgetConsensus()
            self.start(.proxy, plan.proxyArguments(directoryAddress: directoryAddress))
        case .showProgress(let role, let percent, let text):
            self.say("  \(self.title(role)): \(percent)% \(text)")
        case .announceReady(let roster):
            return self.announceReady(roster, timers: &timers)
        case .reportDeath(let role, let end, let next):
            self.say("\(self.title(role)) \(end); the others go on. Its log: \(plan.directory.logPath(role))")
            return self.perform(next, timers: &timers)
        case .stop(let roles, let failure):
            if let failure { self.explain(failure) } else { self.say("Stopping.") }
            return self.stop(roles, timers: &timers)
        case .kill(let roles):
            for role in roles { self.processes[role]?.signal(SIGKILL) }
        case .finish(let exitCode):
            return exitCode
        }
        return nil
    }

    private mutating func start(_ role: DaemonRole, _ arguments: [String]) {
        let continuation = self.continuation
        do {
            let process = try DaemonProcess(
                executable: "\(self.configuration.executables)/\(role.executable)", arguments: arguments,
                standardInput: self.parentPipe.readEnd, logPath: self.configuration.plan.directory.logPath(role),
                onLine: { continuation.yield(.line(role, $0)) }, onExit: { continuation.yield(.exited(role, $0)) })
            self.processes[role] = process
            self.tellJanitor("+\(process.processID)")
        } catch {
            continuation.yield(.exited(role, .notStarted(errno: error.errno)))
        }
    }

    private mutating func stop(_ roles: [DaemonRole], timers: inout TaskGroup<Void>) -> Int32? {
        guard !roles.isEmpty else { return self.perform(self.supervisor.graceTimerFired(), timers: &timers) }
        for role in roles {
            self.processes[role]?.signal(SIGTERM)
            // One that somebody has stopped cannot end before it is woken.
            self.processes[role]?.signal(SIGCONT)
        }
        let continuation = self.continuation
        timers.addTask {
            try? await Task.sleep(for: Self.grace)
            continuation.yield(.graceTimerFired)
        }
        return nil
    }

    private mutating func announceReady(_ roster: NetworkSupervisor.Roster, timers: inout TaskGroup<Void>) -> Int32? {
        let description = self.description(roster)
        if let path = self.configuration.jsonPath {
            do {
                if try JSONFile.write(description.encoded(), to: path) {
                    let path = URL(fileURLWithPath: path).path
                    self.descriptionPath = path
                    self.tellJanitor("=\(path)")
                }
            } catch {
                self.failure = error
                return self.perform(self.supervisor.stopRequested(), timers: &timers)
            }
        }
        self.say(self.advice(description))
        self.configuration.onReady(description)
        return nil
    }

    private func description(_ roster: NetworkSupervisor.Roster) -> NetworkDescription {
        let directory = self.configuration.plan.directory
        func address(_ role: DaemonRole) -> String { roster.addresses[role] ?? "" }
        func processID(_ role: DaemonRole) -> Int32 { self.processes[role]?.processID ?? 0 }
        return NetworkDescription(
            socks: address(.proxy),
            directory: .init(
                address: address(.directory), pid: processID(.directory),
                publicKeyFile: directory.directoryPublicKeyPath),
            routers: (0..<self.configuration.plan.routerCount).map(DaemonRole.router).enumerated().compactMap {
                index, role in
                guard roster.alive.contains(role) else { return nil }
                return .init(
                    nickname: NetworkPlan.nickname(index), fingerprint: self.keys.fingerprints[index],
                    address: address(role), pid: processID(role), country: NetworkPlan.country(index),
                    exitSource: NetworkPlan.exitSource(index))
            },
            proxy: .init(address: address(.proxy), pid: processID(.proxy)),
            stateDirectory: directory.path)
    }

    private func advice(_ description: NetworkDescription) -> String {
        """

        The network is ready. In another terminal:

            curl --proxy socks5h://\(description.socks) https://example.com/

        Three routers between curl and the site: see them with
            \(self.configuration.executables)/thor-proxy status --state \(description.stateDirectory)/proxy
        No Internet here? Run `python3 -m http.server 8000` and fetch http://127.0.0.1:8000/ in the same way.
        Stop a router and watch: kill \(description.routers.first?.pid ?? 0)    More: README.md and examples/
        Ctrl-C ends the network.

        """
    }

    private func explain(_ failure: NetworkSupervisor.Failure) {
        self.say("\(self.title(failure.role)) \(failure.end), and the network cannot start without it. Its last words:")
        for line in self.configuration.plan.directory.logTail(failure.role) { self.say("    \(line)") }
    }

    private func title(_ role: DaemonRole) -> String {
        if case .router(let index) = role { return "router \(NetworkPlan.nickname(index))" }
        return role.description
    }

    private func say(_ text: String) { self.configuration.say(text) }
}

// The janitor, who also removes the description: it describes nothing any more.
extension NetworkRunner {
    private mutating func startJanitor() throws {
        let pipe = try Pipe()
        let directory = self.configuration.plan.directory
        let continuation = self.continuation
        let arguments = ["--janitor"] + (directory.isTemporary ? ["--state", directory.path] : [])
        _ = try DaemonProcess(
            executable: self.configuration.ownExecutable, arguments: arguments, standardInput: pipe.readEnd,
            logPath: nil, onLine: { _ in }, onExit: { _ in continuation.yield(.janitorExited) })
        close(pipe.readEnd)
        self.janitorPipe = pipe
    }

    private func tellJanitor(_ line: String) {
        guard let pipe = self.janitorPipe else { return }
        let bytes = Array("\(line)\n".utf8)
        _ = write(pipe.writeEnd, bytes, bytes.count)
    }

    private mutating func dismissJanitor() async {
        guard self.letJanitorGo() else {
            if let descriptionPath { unlink(descriptionPath) }
            return
        }
        for await event in self.events {
            if case .janitorExited = event { return }
        }
    }

    /// - Returns: whether it was there.
    @discardableResult
    private mutating func letJanitorGo() -> Bool {
        guard let pipe = self.janitorPipe else { return false }
        close(pipe.writeEnd)
        self.janitorPipe = nil
        return true
    }
}
