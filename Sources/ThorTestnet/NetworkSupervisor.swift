import Glibc

/// Decides what a test network does next, from what its daemons report: the directory server first, then all routers,
/// then the proxy; once it runs, deaths are told and the rest goes on; a stop asks everybody to end, and insists later.
///
///     idle ─start→ directory ─ready→ routers ─all alive ones ready→ proxy ─ready→ running
///       any of these ─stopRequested, or a death that start-up cannot do without→ stopping ─last one ended→ finished
///
/// It owns no process, clock or file: time arrives as ``graceTimerFired()``.
package struct NetworkSupervisor: Sendable {
    /// A circuit has three hops.
    package static let minimumRouterCount = 3

    /// The daemons that were started, and what they said.
    package struct Roster: Equatable, Sendable {
        package fileprivate(set) var alive: Set<DaemonRole> = []
        package fileprivate(set) var addresses: [DaemonRole: String] = [:]
        package fileprivate(set) var ready: Set<DaemonRole> = []

        fileprivate var routers: [DaemonRole] {
            self.alive.filter { if case .router = $0 { true } else { false } }
        }
        fileprivate func isReady(_ role: DaemonRole) -> Bool {
            self.ready.contains(role) && self.addresses[role] != nil
        }
    }

    package enum Action: Equatable, Sendable {
        case none
        case startDirectory
        case startRouters(count: Int, directoryAddress: String)
        case startProxy(directoryAddress: String)
        case showProgress(DaemonRole, percent: Int, text: String)
        case announceReady(Roster)
        /// Tell of a death; the network goes on, with what follows.
        indirect case reportDeath(DaemonRole, ProcessEnd, then: Action)
        /// Ask these to end, and start the grace timer. `failure`: the daemon whose end is the reason, if one is.
        case stop([DaemonRole], failure: Failure?)
        case kill([DaemonRole])
        case finish(exitCode: Int32)
    }

    /// Why start-up could not go on.
    package struct Failure: Equatable, Sendable {
        package let role: DaemonRole
        package let end: ProcessEnd
    }

    private enum State {
        case idle
        case directory(Roster)
        case routers(Roster, directoryAddress: String)
        case proxy(Roster)
        case running(Roster)
        case stopping(alive: Set<DaemonRole>, exitCode: Int32)
        case finished
    }

    private let routerCount: Int
    private var state = State.idle

    /// - Precondition: `routerCount` is at least ``minimumRouterCount``.
    package init(routerCount: Int) {
        precondition(routerCount >= Self.minimumRouterCount)
        self.routerCount = routerCount
    }

    /// Begin. Anything but the first call is our bug, and does nothing in release.
    package mutating func start() -> Action {
        switch self.state {
        case .idle:
            self.state = .directory(Roster(alive: [.directory]))
            return .startDirectory
        case .directory, .routers, .proxy, .running, .stopping, .finished:
            assertionFailure("started twice")
            return .none
        }
    }

    /// A daemon said something on its standard output. After a stop, and from the dead, it is an allowed race: dropped.
    package mutating func reported(_ role: DaemonRole, _ report: DaemonReport) -> Action {
        switch self.state {
        case .idle, .stopping, .finished:
            return .none
        case .directory(var roster):
            let action = Self.note(role, report, in: &roster)
            self.state = .directory(roster)
            guard roster.isReady(.directory), let address = roster.addresses[.directory] else { return action }
            for index in 0..<self.routerCount { roster.alive.insert(.router(index)) }
            self.state = .routers(roster, directoryAddress: address)
            return .startRouters(count: self.routerCount, directoryAddress: address)
        case .routers(var roster, let directoryAddress):
            let action = Self.note(role, report, in: &roster)
            self.state = .routers(roster, directoryAddress: directoryAddress)
            let next = self.startProxyIfRoutersReady()
            return next == .none ? action : next
        case .proxy(var roster):
            let action = Self.note(role, report, in: &roster)
            guard roster.isReady(.proxy) else {
                self.state = .proxy(roster)
                return action
            }
            self.state = .running(roster)
            return .announceReady(roster)
        case .running(var roster):
            _ = Self.note(role, report, in: &roster)
            self.state = .running(roster)
            return .none
        }
    }

    /// A daemon's process is gone (or never came to be).
    package mutating func exited(_ role: DaemonRole, _ end: ProcessEnd) -> Action {
        switch self.state {
        case .idle, .finished:
            return .none
        case .directory(var roster), .routers(var roster, _), .proxy(var roster):
            roster.alive.remove(role)
            guard case .router = role, roster.routers.count >= Self.minimumRouterCount else {
                return self.stop(roster.alive, exitCode: end.exitCode, failure: Failure(role: role, end: end))
            }
            switch self.state {
            case .routers(_, let directoryAddress):
                self.state = .routers(roster, directoryAddress: directoryAddress)
                return .reportDeath(role, end, then: self.startProxyIfRoutersReady())
            case .proxy:
                self.state = .proxy(roster)
                return .reportDeath(role, end, then: .none)
            case .idle, .directory, .running, .stopping, .finished:
                assertionFailure("a router died before there was one")
                return .none
            }
        case .running(var roster):
            roster.alive.remove(role)
            guard !roster.alive.isEmpty else {
                self.state = .finished
                return .reportDeath(role, end, then: .finish(exitCode: EX_UNAVAILABLE))
            }
            self.state = .running(roster)
            return .reportDeath(role, end, then: .none)
        case .stopping(var alive, let exitCode):
            alive.remove(role)
            guard alive.isEmpty else {
                self.state = .stopping(alive: alive, exitCode: exitCode)
                return .none
            }
            self.state = .finished
            return .finish(exitCode: exitCode)
        }
    }

    /// The user wants an end (Ctrl-C, SIGTERM). Asked again while stopping, the daemons are killed at once.
    package mutating func stopRequested() -> Action {
        switch self.state {
        case .idle:
            self.state = .finished
            return .finish(exitCode: EX_OK)
        case .directory(let roster), .routers(let roster, _), .proxy(let roster), .running(let roster):
            return self.stop(roster.alive, exitCode: EX_OK, failure: nil)
        case .stopping(let alive, _):
            return .kill(alive.sorted())
        case .finished:
            return .none
        }
    }

    /// The time given for ending in peace is over, or there was nobody to give it to. Fired too late, it is an allowed
    /// race.
    package mutating func graceTimerFired() -> Action {
        switch self.state {
        case .stopping(let alive, let exitCode):
            guard alive.isEmpty else { return .kill(alive.sorted()) }
            self.state = .finished
            return .finish(exitCode: exitCode)
        case .idle, .directory, .routers, .proxy, .running, .finished:
            return .none
        }
    }

    /// What start-up waits for, for a person who has waited long; nil when it is over.
    package var waitsFor: [DaemonRole]? {
        switch self.state {
        case .directory: [.directory]
        case .routers(let roster, _): roster.routers.filter { !roster.isReady($0) }.sorted()
        case .proxy: [.proxy]
        case .idle, .running, .stopping, .finished: nil
        }
    }

    private static func note(_ role: DaemonRole, _ report: DaemonReport, in roster: inout Roster) -> Action {
        guard roster.alive.contains(role) else { return .none }
        switch report {
        case .listening(let address):
            roster.addresses[role] = address
            return .none
        case .ready:
            roster.ready.insert(role)
            return .none
        case .progress(let percent, let text):
            return .showProgress(role, percent: percent, text: text)
        }
    }

    private mutating func startProxyIfRoutersReady() -> Action {
        guard case .routers(var roster, let directoryAddress) = self.state else { return .none }
        guard roster.routers.allSatisfy({ roster.isReady($0) }) else { return .none }
        roster.alive.insert(.proxy)
        self.state = .proxy(roster)
        return .startProxy(directoryAddress: directoryAddress)
    }

    private mutating func stop(_ alive: Set<DaemonRole>, exitCode: Int32, failure: Failure?) -> Action {
        // The proxy ends first and the directory server last, so that nobody is surprised by a lost connection.
        let order = alive.sorted(by: >)
        self.state = .stopping(alive: alive, exitCode: exitCode)
        return .stop(order, failure: failure)
    }
}
