import Dispatch
import NIOCore
import NIOPosix
import Testing

@testable import ThorDaemon

@Suite("Watchdog", .timeLimit(.minutes(1)))
struct WatchdogTests {
    /// 0.2 s of patience: a beat of each part every 50 ms.
    private static func manager(_ socket: NotifySocket) -> ServiceManager {
        ServiceManager(environment: ["NOTIFY_SOCKET": socket.name, "WATCHDOG_USEC": "200000"])
    }

    @Test("gives signs of life while every event loop turns, and none while one of them hangs") func hangs()
        async throws
    {
        let socket = try NotifySocket(.abstract)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let loops = Array(group.makeIterator())
        let watchdog = Watchdog(manager: Self.manager(socket))
        watchdog.watch(loops)
        for _ in 0..<5 { #expect(socket.next() == "WATCHDOG=1") }

        let (hangs, goesOn) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        loops[1].execute {
            hangs.signal()
            goesOn.wait()
        }
        hangs.wait()
        // What the loop said just before.
        socket.drain()
        // The other loop may complete one round that the hung one has begun.
        _ = socket.next(within: .milliseconds(200))
        #expect(socket.next(within: .milliseconds(600)) == nil)
        goesOn.signal()
        #expect(socket.next() == "WATCHDOG=1")
        try await group.shutdownGracefully()
    }

    @Test("one other part that stops keeps the sign back") func part() async throws {
        let socket = try NotifySocket(.abstract)
        let watchdog = Watchdog(manager: Self.manager(socket))
        let (first, second) = (watchdog.part(), watchdog.part())
        first()
        first()
        #expect(socket.next(within: .zero) == nil)
        second()
        #expect(socket.next(within: .zero) == "WATCHDOG=1")
        second()
        #expect(socket.next(within: .zero) == nil)
        first()
        #expect(socket.next(within: .zero) == "WATCHDOG=1")
    }

    @Test("as a service it stands for Swift's tasks, and ends when told") func service() async throws {
        let socket = try NotifySocket(.abstract)
        let watchdog = Watchdog(manager: Self.manager(socket))
        let running = Task { try await watchdog.run() }
        for _ in 0..<3 { #expect(socket.next() == "WATCHDOG=1") }
        running.cancel()
        try await running.value
    }

    @Test("is silent where nobody watches") func unwatched() async throws {
        let socket = try NotifySocket(.abstract)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let watchdog = Watchdog(manager: ServiceManager(environment: ["NOTIFY_SOCKET": socket.name]))
        watchdog.watch(Array(group.makeIterator()))
        #expect(socket.next(within: .milliseconds(300)) == nil)
        try await group.shutdownGracefully()
    }
}
