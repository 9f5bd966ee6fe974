/// Takes the data of server-sent events out of a stream of bytes that arrives in any pieces.
///
/// Only `data` fields matter here; comments, names and ids are skipped. Lines end with LF or CR LF; an event ends with an
/// empty line, and several `data` lines are joined with LF.
///
/// - Source: WHATWG HTML, *Server-sent events*
package struct ServerSentEvents: Sendable {
    /// The longest event that is kept, in bytes.
    package static let maximumEventByteCount = 1 << 20

    private var line: [UInt8] = []
    private var data: [UInt8] = []
    private var hasData = false

    package init() {}

    /// Take in bytes, and return the data of each event that they complete.
    ///
    /// - Throws: ``ChatFailure/malformedAnswer(_:)`` when an event is longer than ``maximumEventByteCount``.
    package mutating func append(_ bytes: some Collection<UInt8>) throws(ChatFailure) -> [[UInt8]] {
        var events: [[UInt8]] = []
        for byte in bytes {
            guard byte == UInt8(ascii: "\n") else {
                self.line.append(byte)
                guard self.line.count + self.data.count <= Self.maximumEventByteCount else {
                    throw .malformedAnswer("an event of more than \(Self.maximumEventByteCount) bytes")
                }
                continue
            }
            if self.line.last == UInt8(ascii: "\r") { self.line.removeLast() }
            if self.line.isEmpty {
                if self.hasData { events.append(self.data) }
                self.data.removeAll(keepingCapacity: true)
                self.hasData = false
            } else {
                self.takeLine()
                self.line.removeAll(keepingCapacity: true)
            }
        }
        return events
    }

    private mutating func takeLine() {
        let name = Array("data".utf8)
        guard self.line.starts(with: name) else { return }
        var value = self.line.dropFirst(name.count)
        guard value.isEmpty || value.first == UInt8(ascii: ":") else { return }
        value = value.dropFirst()
        if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
        if self.hasData { self.data.append(UInt8(ascii: "\n")) }
        self.data += value
        self.hasData = true
    }
}
