import Foundation
import Testing

@testable import ThorDaemon

@Suite("Standard output", .timeLimit(.minutes(1)))
struct StandardOutputTests {
    @Test("all of a text is written, however little is taken at once") func whole() throws {
        let pipe = Pipe()
        let text = String(repeating: "text ", count: 100_000)
        let descriptor = pipe.fileHandleForWriting.fileDescriptor
        // On a thread, as it waits for the reader.
        Thread.detachNewThread { writeWhole(text, to: descriptor) }
        let read = try pipe.fileHandleForReading.read(upToCount: text.utf8.count)
        #expect(read == Data(text.utf8))
    }

    @Test("a text is written once, whatever error there was before") func once() throws {
        let pipe = Pipe()
        errno = EINTR
        writeWhole("text", to: pipe.fileHandleForWriting.fileDescriptor)
        try pipe.fileHandleForWriting.close()
        #expect(try pipe.fileHandleForReading.readToEnd() == Data("text".utf8))
    }

    @Test("an error is no reason to go on, or to end") func error() { #expect(writeWhole("text", to: -1)) }

    @Test("it is told when the reader has gone away, and not before") func gone() throws {
        signal(SIGPIPE, SIG_IGN)
        let pipe = Pipe()
        #expect(writeWhole("text", to: pipe.fileHandleForWriting.fileDescriptor))
        try pipe.fileHandleForReading.close()
        #expect(!writeWhole("text", to: pipe.fileHandleForWriting.fileDescriptor))
    }
}
