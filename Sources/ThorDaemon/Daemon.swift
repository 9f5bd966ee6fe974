internal import ArgumentParser
internal import Foundation
package import Logging
package import ServiceLifecycle
internal import UnixSignals

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// How a program of ours starts, runs its services and ends.
package enum Daemon {
    /// The longest that a clean stop may take before the process just ends.
    static let shutdownSeconds = 4

    /// Run a command's body; show what it throws to the operator, and end with the sysexits code.
    ///
    /// An ``OperatorFacing`` error becomes `NAME: what is wrong. What to do.` on standard error. ArgumentParser's own
    /// errors pass through; anything else is shown as it describes itself, with code 70.
    ///
    /// - Parameter forbidsCoreDumps: false for a program whose limits others inherit, and that holds no keys.
    package static func run(
        _ name: String, forbidsCoreDumps: Bool = true, isolation: isolated (any Actor)? = #isolation,
        _ body: () async throws -> Void
    ) async throws {
        if forbidsCoreDumps { CoreDumps.disable() }
        signal(SIGPIPE, SIG_IGN)
        do {
            try await body()
        } catch let error as any OperatorFacing {
            throw Self.report(name, error.operatorError)
        } catch let error where error is ExitCode || error is CleanExit {
            throw error
        } catch {
            throw Self.report(name, OperatorError("\(error)", advice: "", status: .software))
        }
    }

    /// Run services until one ends, SIGTERM or SIGINT comes, or the parent is gone; stop them in reverse order.
    ///
    /// SIGHUP does nothing, unless a service listens for it: it would end the process without a shutdown, and a service
    /// manager takes that for an end that was asked for.
    ///
    /// - Parameters:
    ///   - state: kept locked until all have ended.
    ///   - watchdog: what the service manager hears of the daemon's life.
    /// - Throws: what the first failing service threw.
    package static func serve(
        _ services: [any Service], state: StateDirectory? = nil, watchdog: Watchdog, options: DaemonOptions,
        logger: Logger
    ) async throws {
        defer { withExtendedLifetime(state) {} }
        FileDescriptorLimit.raise()
        signal(SIGHUP, SIG_IGN)
        var services = services
        services.append(MemoryReturn())
        services.append(TotalsReport(logger: logger))
        services.append(watchdog)
        if options.exitsWithParent { services.append(ParentWatch()) }
        services.append(ShutdownDeadline(seconds: Self.shutdownSeconds))
        var quiet = logger
        quiet.logLevel = .warning
        let group = ServiceGroup(
            configuration: .init(
                services: services.map {
                    .init(
                        service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup)
                },
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: quiet))
        try await group.run()
    }

    private static func report(_ name: String, _ error: OperatorError) -> ExitCode {
        ServiceManager.ofProcess.status("\(error)")
        writeWhole("\(name): \(error)\n", to: STDERR_FILENO)
        return ExitCode(error.status.rawValue)
    }
}

/// Tells the service manager of the shutdown, and ends the process when a clean stop takes too long. Last in the group, so
/// first to hear of it.
struct ShutdownDeadline: Service, CustomStringConvertible {
    let seconds: Int

    var description: String { "shutdown deadline" }

    func run() async throws {
        try? await gracefulShutdown()
        ServiceManager.ofProcess.stopping()
        let seconds = UInt32(clamping: self.seconds)
        // A thread, because the concurrency pool may be what is stuck.
        Thread.detachNewThread {
            sleep(seconds)
            writeWhole("a clean stop took longer than \(seconds) s; ended at once\n", to: STDERR_FILENO)
            _exit(ExitStatus.software.rawValue)
        }
    }
}
