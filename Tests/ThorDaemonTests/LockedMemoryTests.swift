import Logging
import NIOConcurrencyHelpers
import TestSupport
import Testing

@testable import ThorDaemon

@Suite("Locked memory")
struct LockedMemoryTests {
    @Test("is read from what Linux says of a process") func parsing() {
        #expect(
            LockedMemory.lockedKibibytes(status: "Name:\tthor\nVmPeak:\t 9 kB\nVmLck:\t       8 kB\nVmPin:\t 1 kB\n")
                == 8)
        #expect(LockedMemory.lockedKibibytes(status: "VmLck:\t       0 kB\n") == 0)
        #expect(LockedMemory.lockedKibibytes(status: "VmLck:\n") == nil)
        #expect(LockedMemory.lockedKibibytes(status: "") == nil)
    }

    @Test(
        "that a key is not locked is said, and nothing else",
        arguments: [
            ("VmLck: 0 kB", 1, 1), ("VmLck: 8 kB", 2, 0), ("VmLck: 8 kB", 3, 1), ("VmLck: 0 kB", 0, 0), ("", 1, 0),
        ])
    func warning(status: String, keyCount: Int, count: Int) {
        let lines = NIOLockedValueBox<[String]>([])
        LockedMemory.check(
            status: status, keyCount: keyCount, pageKibibytes: 4,
            logger: Logger(label: "test") { _ in EventLog(lines: lines) })
        #expect(lines.withLockedValue { $0.filter { $0.hasPrefix("warning keys are not locked") }.count } == count)
        #expect(lines.withLockedValue { $0.count } == count)
    }
}
