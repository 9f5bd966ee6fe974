package import Logging

/// Hands on each event that is logged.
package struct EventLog: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    private let logged: @Sendable (LogEvent) -> Void

    package init(level: Logger.Level = .trace, logged: @escaping @Sendable (LogEvent) -> Void) {
        self.logLevel = level
        self.logged = logged
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    package func log(event: LogEvent) { self.logged(event) }
}
