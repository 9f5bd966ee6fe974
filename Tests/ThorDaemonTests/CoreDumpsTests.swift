import Glibc
import Testing
import ThorDaemon

import struct Foundation.Data
import class Foundation.FileManager

@Suite("Core dumps")
struct CoreDumpsTests {
    @Test("are off, by limit and by content, once disabled")
    func disabled() {
        CoreDumps.disable()
        var limit = rlimit()
        #expect(getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit) == 0)
        #expect(limit.rlim_cur == 0 && limit.rlim_max == 0)
        let filter = FileManager.default.contents(atPath: "/proc/self/coredump_filter") ?? Data()
        #expect(String(decoding: filter, as: UTF8.self).contains { $0 != "0" && $0 != "\n" } == false)
    }
}
