internal import NIOConcurrencyHelpers
package import NIOCore
internal import ServiceLifecycle

/// Tells the service manager that the daemon lives, while all of it does.
///
/// Each event loop, and each other part that asks for it, gives a beat four times within the service manager's patience. Only
/// when every part has beaten since the last sign of life is there another: one part that hangs keeps the sign back, and the
/// service manager ends the daemon and starts it anew.
package final class Watchdog: Service, CustomStringConvertible {
    private struct State {
        var partCount = 0
        var beaten: Set<Int> = []
    }

    private let manager: ServiceManager
    /// Between two beats of a part; nil if nobody watches.
    private let interval: Duration?
    private let state = NIOLockedValueBox(State())

    package init(manager: ServiceManager = .ofProcess) {
        self.manager = manager
        self.interval = manager.watchdogTime.map { $0 / 4 }
    }

    package var description: String { "watchdog" }

    /// Count on these loops, from now on until they end.
    package func watch(_ eventLoops: [any EventLoop]) {
        guard let interval else { return }
        for eventLoop in eventLoops {
            let beat = self.part()
            eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: TimeAmount(interval)) { _ in beat() }
        }
    }

    /// Count on one more part.
    ///
    /// - Returns: what that part calls, from any thread, as long as it lives: often, but not for each cell.
    package func part() -> @Sendable () -> Void {
        let part = self.state.withLockedValue { state in
            state.partCount += 1
            return state.partCount
        }
        return { self.beat(part) }
    }

    private func beat(_ part: Int) {
        let allHaveBeaten = self.state.withLockedValue { state in
            state.beaten.insert(part)
            guard state.beaten.count == state.partCount else { return false }
            state.beaten = []
            return true
        }
        if allHaveBeaten { self.manager.watchdog() }
    }

    /// Be the part that stands for the threads of Swift's tasks.
    package func run() async throws {
        if let interval {
            let beat = self.part()
            try? await cancelWhenGracefulShutdown {
                while true {
                    beat()
                    try await Task.sleep(for: interval)
                }
            }
        }
        // The group takes a service that ends by itself for the end of all.
        try? await gracefulShutdown()
    }
}
