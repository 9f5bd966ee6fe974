import Logging
import Testing

@testable import ThorDaemon

@Suite("Log lines")
struct StandardErrorLogTests {
    @Test("time, level, message, and metadata in order of keys") func line() {
        let line = StandardErrorLog.line(
            unixTime: 1_795_435_200, level: .info, message: "circuit built", metadata: ["b": "two words", "a": "1"])
        #expect(line == "2026-11-23T12:00:00Z info circuit built a=1 b=\"two words\"\n")
    }

    @Test("a value cannot start a line of its own, or end its quotes") func injection() {
        let line = StandardErrorLog.line(
            unixTime: 0, level: .info, message: "x", metadata: ["a": "1\n2026 \u{1b}[31m", "b": "q\""])
        #expect(line.filter { $0 == "\n" }.count == 1)
        #expect(!line.unicodeScalars.contains("\u{1b}"))
        #expect(line.hasSuffix("b=q\\\"\n"))
    }
}
