import Foundation

/// This process's memory as another would read it, wherever it is mapped: also what has been given back to the allocator.
enum ProcessMemory {
    static func read(_ address: UInt, _ count: Int) throws -> Data {
        let memory = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/self/mem"))
        defer { try? memory.close() }
        try memory.seek(toOffset: UInt64(address))
        return try memory.read(upToCount: count) ?? Data()
    }
}
