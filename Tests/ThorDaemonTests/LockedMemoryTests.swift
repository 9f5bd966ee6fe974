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

    @Test("that there is none is said, and nothing else", arguments: [("VmLck: 0 kB", 1), ("VmLck: 8 kB", 0), ("", 0)])
    func warning(status: String, count: Int) {
        let lines = NIOLockedValueBox<[String]>([])
        LockedMemory.check(status: status, logger: Logger(label: "test") { _ in EventLog(lines: lines) })
        #expect(lines.withLockedValue { $0.filter { $0.hasPrefix("warning keys are not locked") }.count } == count)
        #expect(lines.withLockedValue { $0.count } == count)
    }
}
