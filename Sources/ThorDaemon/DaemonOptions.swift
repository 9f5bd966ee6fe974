package import ArgumentParser
package import Logging
internal import OnionAddress

/// The options that all daemons take.
package struct DaemonOptions: ParsableArguments, Sendable {
    @Option(
        name: .customLong("log-level"),
        help: ArgumentHelp(
            "How much to log on standard error: \(LogLevel.allCases.map(\.rawValue).joined(separator: ", ")).",
            valueName: "level"))
    package var logLevel: LogLevel = .info

    @Flag(name: .customLong("exit-with-parent"), help: .hidden)
    package var exitsWithParent = false

    @Flag(
        name: .customLong("testing.log-addresses"),
        help: ArgumentHelp("Show addresses in logs, where they can tell who talks with whom.", visibility: .hidden))
    package var logsAddresses = false

    package init() {}

    /// Send log lines to standard error at the level asked for, keep totals for ``TotalsReport``, and return the daemon's
    /// logger. Call once, before what counts is made.
    package func bootstrapLogging(label: String) -> Logger {
        let level = self.logLevel.level
        LoggingSystem.bootstrap { _ in StandardErrorLog(level: level) }
        TotalsReport.bootstrap()
        let logger = Logger(label: label)
        if self.logsAddresses {
            ScrubbingPolicy.reveal()
            logger.warning(
                "logs will hold addresses that tell who talks with whom; never run a real network like this")
        }
        return logger
    }
}

/// A log level by name on the command line.
package enum LogLevel: String, ExpressibleByArgument, CaseIterable, Sendable {
    case trace, debug, info, notice, warning, error, critical

    package var level: Logger.Level {
        switch self {
        case .trace: .trace
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        case .critical: .critical
        }
    }
}
