import Testing

@testable import ThorDaemon

@Suite("Memory return", .timeLimit(.minutes(1)))
struct MemoryReturnTests {
    @Test("ends when told") func end() async throws {
        let running = Task { try await MemoryReturn().run() }
        running.cancel()
        try await running.value
    }
}
