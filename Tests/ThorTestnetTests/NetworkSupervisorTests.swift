import Testing

@testable import ThorTestnet

@Suite("Supervisor of a test network")
struct NetworkSupervisorTests {
    /// Bring a network of `routers` up to the given point; nil of `proxy` leaves the proxy starting.
    private func running(routers: Int = 3) -> NetworkSupervisor {
        var supervisor = self.atProxy(routers: routers)
        _ = supervisor.reported(.proxy, .listening(address: "p:1"))
        _ = supervisor.reported(.proxy, .ready)
        return supervisor
    }

    private func atProxy(routers: Int = 3) -> NetworkSupervisor {
        var supervisor = self.atRouters(routers: routers)
        for index in 0..<routers {
            _ = supervisor.reported(.router(index), .listening(address: "r:\(index)"))
            _ = supervisor.reported(.router(index), .ready)
        }
        return supervisor
    }

    private func atRouters(routers: Int = 3) -> NetworkSupervisor {
        var supervisor = NetworkSupervisor(routerCount: routers)
        _ = supervisor.start()
        _ = supervisor.reported(.directory, .listening(address: "d:1"))
        _ = supervisor.reported(.directory, .ready)
        return supervisor
    }

    @Test("starts the directory, then the routers, then the proxy, each when the one before is ready")
    func order() throws {
        var supervisor = NetworkSupervisor(routerCount: 3)
        #expect(supervisor.start() == .startDirectory)
        #expect(supervisor.reported(.directory, .listening(address: "d:1")) == .none)
        #expect(supervisor.reported(.directory, .ready) == .startRouters(count: 3, directoryAddress: "d:1"))
        for index in [2, 0] {
            #expect(supervisor.reported(.router(index), .listening(address: "r:\(index)")) == .none)
            #expect(supervisor.reported(.router(index), .ready) == .none)
        }
        #expect(supervisor.waitsFor == [.router(1)])
        #expect(supervisor.reported(.router(1), .listening(address: "r:1")) == .none)
        #expect(supervisor.reported(.router(1), .ready) == .startProxy(directoryAddress: "d:1"))
        let progress = DaemonReport.progress(percent: 40, text: "building a circuit")
        #expect(
            supervisor.reported(.proxy, progress) == .showProgress(.proxy, percent: 40, text: "building a circuit"))
        #expect(supervisor.reported(.proxy, .listening(address: "p:1")) == .none)
        guard case .announceReady(let roster) = supervisor.reported(.proxy, .ready) else {
            Issue.record("not announced")
            return
        }
        #expect(roster.addresses[.router(2)] == "r:2")
        #expect(roster.alive.count == 5)
        #expect(supervisor.waitsFor == nil)
    }

    @Test("does not take ready without an address for ready")
    func readyNeedsAddress() {
        var supervisor = NetworkSupervisor(routerCount: 3)
        _ = supervisor.start()
        #expect(supervisor.reported(.directory, .ready) == .none)
        #expect(
            supervisor.reported(.directory, .listening(address: "d:1"))
                == .startRouters(count: 3, directoryAddress: "d:1"))
    }

    @Test("goes on without a router that dies at start, when three are left")
    func routerDiesAtStart() {
        var supervisor = self.atRouters(routers: 4)
        for index in 0..<3 {
            _ = supervisor.reported(.router(index), .listening(address: "r:\(index)"))
            #expect(supervisor.reported(.router(index), .ready) == .none)
        }
        #expect(
            supervisor.exited(.router(3), .code(71))
                == .reportDeath(.router(3), .code(71), then: .startProxy(directoryAddress: "d:1")))
    }

    @Test("stops when start-up loses what it cannot do without, and ends with that daemon's code")
    func fatalAtStart() throws {
        var supervisor = self.atRouters(routers: 3)
        guard case .stop(let roles, let failure) = supervisor.exited(.router(1), .code(69)) else {
            Issue.record("went on with two routers")
            return
        }
        #expect(roles == [.router(2), .router(0), .directory])
        #expect(failure?.role == .router(1))
        #expect(supervisor.exited(.router(0), .code(0)) == .none)
        #expect(supervisor.exited(.router(2), .code(0)) == .none)
        #expect(supervisor.exited(.directory, .code(0)) == .finish(exitCode: 69))
    }

    @Test("ends at once when the first daemon cannot start")
    func nothingStarts() {
        var supervisor = NetworkSupervisor(routerCount: 3)
        _ = supervisor.start()
        guard case .stop(let roles, _) = supervisor.exited(.directory, .notStarted(errno: 2)) else {
            Issue.record("went on without a directory")
            return
        }
        #expect(roles.isEmpty)
        #expect(supervisor.graceTimerFired() == .finish(exitCode: 71))
    }

    @Test("reports deaths while running, and goes on until the last")
    func deaths() {
        var supervisor = self.running()
        for role in [DaemonRole.directory, .router(0), .proxy, .router(2)] {
            #expect(supervisor.exited(role, .signal(9)) == .reportDeath(role, .signal(9), then: .none))
        }
        #expect(
            supervisor.exited(.router(1), .code(0))
                == .reportDeath(.router(1), .code(0), then: .finish(exitCode: 69)))
    }

    @Test("asks all to end, proxy first, kills those that do not, and finishes with the last")
    func stop() {
        var supervisor = self.running()
        #expect(
            supervisor.stopRequested()
                == .stop([.proxy, .router(2), .router(1), .router(0), .directory], failure: nil))
        for role in [DaemonRole.proxy, .router(0), .router(2), .directory] {
            #expect(supervisor.exited(role, .code(0)) == .none)
        }
        #expect(supervisor.reported(.router(1), .ready) == .none)
        #expect(supervisor.graceTimerFired() == .kill([.router(1)]))
        #expect(supervisor.exited(.router(1), .signal(9)) == .finish(exitCode: 0))
        #expect(supervisor.graceTimerFired() == .none)
    }

    @Test("kills at once when asked to stop a second time")
    func impatience() {
        var supervisor = self.atProxy()
        _ = supervisor.stopRequested()
        #expect(
            supervisor.stopRequested() == .kill([.directory, .router(0), .router(1), .router(2), .proxy]))
    }

    @Test("does not believe the dead")
    func reportsFromTheDead() {
        var supervisor = self.atRouters(routers: 4)
        _ = supervisor.exited(.router(3), .signal(9))
        _ = supervisor.reported(.router(3), .listening(address: "r:3"))
        _ = supervisor.reported(.router(3), .ready)
        #expect(supervisor.waitsFor == [.router(0), .router(1), .router(2)])
    }
}
