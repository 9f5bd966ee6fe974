import Testing

@testable import ThorChat

@Suite("Server-sent events")
struct ServerSentEventsTests {
    private func texts(_ events: [[UInt8]]) -> [String] { events.map { String(decoding: $0, as: UTF8.self) } }

    @Test("takes the data of each event, and skips the rest") func fields() throws {
        var events = ServerSentEvents()
        let text = ": a comment\nid: 7\nevent: x\ndata: one\n\ndata:two\r\n\r\ndatabase: no\ndata\ndata:  three\n\n\n"
        #expect(self.texts(try events.append(text.utf8)) == ["one", "two", "\n three"])
    }

    @Test("does not care how the bytes arrive") func pieces() throws {
        let bytes = Array("data: zwölf\n\ndata: [DONE]\n\n".utf8)
        for size in 1...bytes.count {
            var events = ServerSentEvents()
            var all: [[UInt8]] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                all += try events.append(bytes[start..<min(start + size, bytes.count)])
            }
            #expect(self.texts(all) == ["zwölf", "[DONE]"])
        }
    }

    @Test("takes an event at the limit, and refuses one past it") func limit() throws {
        let limit = ServerSentEvents.maximumEventByteCount
        var events = ServerSentEvents()
        let line = Array("data:".utf8) + [UInt8](repeating: UInt8(ascii: "x"), count: limit - 5)
        #expect(try events.append(line).isEmpty)
        #expect(throws: ChatFailure.self) { try events.append([UInt8(ascii: "x")]) }
    }

    @Test("leaves an event that has not ended") func unfinished() throws {
        var events = ServerSentEvents()
        #expect(try events.append("data: half\n".utf8).isEmpty)
    }
}
