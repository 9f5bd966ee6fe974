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
}
