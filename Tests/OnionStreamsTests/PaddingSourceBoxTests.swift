import OnionCells
import Testing

@testable import OnionStreams

@Suite("Padding of control cells")
struct PaddingSourceBoxTests {
    @Test("what is behind a message is random, and nothing of what was in memory there")
    func tail() {
        let padding = PaddingSourceBox()
        let payloads = (0..<2).map { _ in
            var payload = [UInt8](repeating: 0xAA, count: Cell.payloadByteCount)
            var elements = payload.mutableSpan
            var bytes = elements.mutableBytes
            padding.pack(.extended, streamID: .circuit, data: [1, 2, 3], into: &bytes)
            return payload
        }
        for payload in payloads {
            let tail = payload.dropFirst(100)
            // Of 1927 random bytes some 8 are 0xAA, and as many are zero.
            #expect(tail.count { $0 == 0xAA } < 60)
            #expect(tail.count { $0 == 0 } < 60)
        }
        #expect(payloads[0].suffix(32) != payloads[1].suffix(32))
    }
}
