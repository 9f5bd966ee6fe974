import NIOCore
import OnionCells
import Testing

@Suite("Resolved")
struct ResolvedTests {
    /// Write a message and read it again.
    private func again(_ message: Resolved) throws -> Resolved {
        var buffer = ByteBuffer()
        message.write(to: &buffer)
        return try Resolved(data: buffer)
    }

    @Test("carries every reason, and never 0, which means success", arguments: EndReason.allCases)
    func reasons(reason: EndReason) throws {
        #expect(try self.again(.failed(reason)) == .failed(reason == .unspecified ? .resolveFailed : reason))
    }

    @Test("takes a reason that nobody knows for a failed look-up") func unknownReason() throws {
        #expect(try Resolved(data: ByteBuffer(bytes: [0xff])) == .failed(.resolveFailed))
    }
}
