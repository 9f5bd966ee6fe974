package import Logging

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Writes log lines to standard error: `2026-11-23T12:00:00Z info circuit built circuit.hops=3`.
///
/// Each line is one write, so that lines of several threads do not mix. Control characters are escaped: text that a
/// peer chose cannot start a line of its own.
package struct StandardErrorLog: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?

    package init(level: Logger.Level) { self.logLevel = level }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    package func log(event: LogEvent) { writeWhole(self.line(event, unixTime: time(nil)), to: STDERR_FILENO) }

    func line(_ event: LogEvent, unixTime: Int) -> String {
        var fields = self.metadata
        if let provided = self.metadataProvider?.get() { fields.merge(provided) { $1 } }
        if let own = event.metadata { fields.merge(own) { $1 } }
        if let error = event.error, fields["error"] == nil { fields["error"] = "\(error)" }
        return Self.line(unixTime: unixTime, level: event.level, message: "\(event.message)", metadata: fields)
    }

    /// Format one line, newline included, keys in alphabetical order.
    static func line(unixTime: Int, level: Logger.Level, message: String, metadata: Logger.Metadata) -> String {
        var line = "\(Self.timestamp(unixTime)) \(level.rawValue) \(Self.escaped(message))"
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            let text = Self.escaped("\(value)")
            line += text.isEmpty || text.contains(" ") ? " \(key)=\"\(text)\"" : " \(key)=\(text)"
        }
        return line + "\n"
    }

    private static func timestamp(_ unixTime: Int) -> String {
        var seconds = time_t(unixTime)
        var parts = tm()
        guard gmtime_r(&seconds, &parts) != nil else { return "-" }
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
            + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if scalar.properties.generalCategory == .control || scalar == "\"" {
                result += scalar.escaped(asASCII: true)
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
