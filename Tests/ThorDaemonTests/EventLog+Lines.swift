import Logging
import NIOConcurrencyHelpers
import TestSupport

extension EventLog {
    /// Keeps log lines, without their times.
    init(lines: NIOLockedValueBox<[String]>) {
        self.init(level: .info) { event in
            let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }
            lines.withLockedValue { $0.append("\(event.level) \(event.message)\(fields.joined())") }
        }
    }
}
