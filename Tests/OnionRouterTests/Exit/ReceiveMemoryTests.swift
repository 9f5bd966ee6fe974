import OnionStreams
import Testing

@testable import OnionRouter

@Suite("Receive memory of exit streams")
struct ReceiveMemoryTests {
    private static let mebibyte = 1 << 20
    private static let most = StreamEdge.receiveBufferByteCount(streamCount: 1)

    @Test("hundreds of sockets get all that they can use") func plenty() {
        var memory = ReceiveMemory(byteCount: 1024 * Self.mebibyte)
        for _ in 0..<500 { #expect(memory.lend(streamCount: 1) == Self.most) }
    }

    @Test("no number of sockets takes more than there is, but for the least that each is given") func scarcity() {
        var memory = ReceiveMemory(byteCount: 64 * Self.mebibyte)
        var last = Self.most
        for _ in 0..<16_384 {
            let byteCount = memory.lend(streamCount: 1)
            #expect(byteCount <= last && byteCount >= ReceiveMemory.leastByteCount)
            last = byteCount
        }
        #expect(last == ReceiveMemory.leastByteCount)
        #expect(memory.leftByteCount >= -16_384 * 2 * ReceiveMemory.leastByteCount)
    }

    @Test("the sockets of one circuit share what its window can use, and each gets some") func circuit() {
        var memory = ReceiveMemory(byteCount: 1024 * Self.mebibyte)
        #expect(memory.lend(streamCount: 16) == 256 * 1024)
        #expect(memory.lend(streamCount: 256) == 64 * 1024)
    }

    @Test("what is given back is lent again") func back() {
        var memory = ReceiveMemory(byteCount: 64 * Self.mebibyte)
        let first = memory.lend(streamCount: 1)
        let others = (0..<1000).map { _ in memory.lend(streamCount: 1) }
        #expect(memory.lend(streamCount: 1) < first)
        for byteCount in others { memory.giveBack(byteCount) }
        memory.giveBack(first)
        #expect(memory.lend(streamCount: 1) >= others[0])
    }

    @Test("a machine's part is neither nothing nor most of it") func machine() {
        #expect((16 * Self.mebibyte..<1 << 40).contains(ReceiveMemory.ofMachine.leftByteCount))
    }
}
