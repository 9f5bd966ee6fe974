import Logging
import NIOConcurrencyHelpers

/// Keeps log lines, without their times.
struct LineLog: LogHandler {
    let lines: NIOLockedValueBox<[String]>
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    init(lines: NIOLockedValueBox<[String]>) { self.lines = lines }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }
        self.lines.withLockedValue { $0.append("\(event.level) \(event.message)\(fields.joined())") }
    }
}
