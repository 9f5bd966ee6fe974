import Foundation
import ServiceLifecycle
import Testing

@testable import ThorDaemon

@Suite("Parent watch", .timeLimit(.minutes(1)))
struct ParentWatchTests {
    @Test("ends at the end of its input, and not before") func end() async throws {
        let pipe = Pipe()
        let watch = ParentWatch(descriptor: pipe.fileHandleForReading.fileDescriptor)
        async let ended: Void = watch.run()
        try pipe.fileHandleForWriting.write(contentsOf: Data(repeating: 1, count: 1000))
        try pipe.fileHandleForWriting.close()
        try await ended
        #expect(try pipe.fileHandleForReading.readToEnd() ?? Data() == Data())
    }

    @Test("ends where nothing can be read") func error() async throws {
        try await ParentWatch(descriptor: -1).run()
    }

    @Test("ends when cancelled") func cancelled() async throws {
        let pipe = Pipe()
        let watch = ParentWatch(descriptor: pipe.fileHandleForReading.fileDescriptor)
        let task = Task { try await watch.run() }
        task.cancel()
        try await task.value
        try pipe.fileHandleForWriting.close()
    }
}
