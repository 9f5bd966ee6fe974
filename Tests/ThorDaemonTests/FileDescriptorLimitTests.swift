import Glibc
import Testing
import ThorDaemon

@Suite("File descriptor limit")
struct FileDescriptorLimitTests {
    @Test("is raised to what the system allows") func raised() {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        #expect(getrlimit(resource, &limit) == 0)
        let most = limit.rlim_max
        limit.rlim_cur = most - 1
        #expect(setrlimit(resource, &limit) == 0)
        #expect(FileDescriptorLimit.raise() == Int(clamping: most))
        #expect(getrlimit(resource, &limit) == 0)
        #expect(limit.rlim_cur == most)
    }

    @Test(
        "leaves a daemon what it needs for itself, and one connection at least",
        arguments: [(10, 1000, 10), (1000, 1000, 872), (873, 1000, 872), (10, 130, 2), (10, 128, 1), (10, 0, 1)])
    func connections(wanted: Int, total: Int, expected: Int) {
        #expect(FileDescriptorLimit.connections(upTo: wanted, of: total) == expected)
    }
}
