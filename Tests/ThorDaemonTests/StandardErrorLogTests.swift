import Logging
import Testing

@testable import ThorDaemon

@Suite("Log lines")
struct StandardErrorLogTests {
    @Test("time, level, message, and metadata in order of keys") func line() {
        let line = StandardErrorLog.line(
            unixTime: 1_795_435_200, level: .info, message: "circuit built",
            metadata: ["b": "two words", "a": "1", "c": ""])
        #expect(line == "2026-11-23T12:00:00Z info circuit built a=1 b=\"two words\" c=\"\"\n")
    }

    @Test(
        "a time is UTC in digits of one width; of one that is none there is a dash",
        arguments: [
            (1_002_708_610, "2001-10-10T10:10:10Z"), (981_173_106, "2001-02-03T04:05:06Z"), (.max, "-"),
        ])
    func time(unixTime: Int, expected: String) {
        #expect(
            StandardErrorLog.line(unixTime: unixTime, level: .info, message: "x", metadata: [:])
                == "\(expected) info x\n")
    }

    @Test("an error is a field of its own, unless there is one of that name") func error() {
        struct Failure: Error {}
        func line(_ metadata: Logger.Metadata?) -> String {
            let event = LogEvent(
                level: .warning, message: "x", error: Failure(), metadata: metadata, source: nil, file: "",
                function: "",
                line: 1)
            return StandardErrorLog(level: .info).line(event, unixTime: 0)
        }
        #expect(line(nil) == "1970-01-01T00:00:00Z warning x error=Failure()\n")
        #expect(line(["error": "known"]) == "1970-01-01T00:00:00Z warning x error=known\n")
    }

    @Test("a value cannot start a line of its own, or end its quotes") func injection() {
        let line = StandardErrorLog.line(
            unixTime: 0, level: .info, message: "x", metadata: ["a": "1\n2026 \u{1b}[31m", "b": "q\""])
        #expect(line.filter { $0 == "\n" }.count == 1)
        #expect(!line.unicodeScalars.contains("\u{1b}"))
        #expect(line.hasSuffix("b=q\\\"\n"))
    }
}
