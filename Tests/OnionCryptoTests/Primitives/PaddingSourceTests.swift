import Testing

@testable import OnionCrypto

@Suite("Randomness")
struct PaddingSourceTests {
    private static func take(_ count: Int, from source: inout PaddingSource) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        source.fill(&raw)
        return bytes
    }

    @Test("fills the whole span, whatever its length", arguments: [0, 1, 16, 2043, 8191, 8192, 8193, 40_000])
    func lengths(count: Int) {
        var source = PaddingSource()
        // A byte that is zero in each of 16 draws was not written (the chance is 2^-128 for each).
        var seen = [UInt8](repeating: 0, count: count)
        for _ in 0..<16 {
            for (index, byte) in Self.take(count, from: &source).enumerated() { seen[index] |= byte }
        }
        #expect(!seen.contains(0))
    }

    @Test("never repeats a block, across refills and reseeding")
    func noRepeats() {
        var source = PaddingSource()
        var seen: Set<[UInt8]> = []
        for _ in 0..<(3 << 20) / 64 { #expect(seen.insert(Self.take(64, from: &source)).inserted) }
    }

    @Test("one key makes one stream, until fresh bytes of the system are mixed in")
    func reseeds() {
        var first = PaddingSource { _ in }
        var second = PaddingSource { _ in }
        let before = (1 << 20) - 8192
        #expect(Self.take(before, from: &first) == Self.take(before, from: &second))
        #expect(Self.take(32, from: &first) != Self.take(32, from: &second))
    }

    @Test("spreads evenly over the values of a byte")
    func uniform() {
        var source = PaddingSource()
        var counts = [Int](repeating: 0, count: 256)
        for byte in Self.take(256 * 1024, from: &source) { counts[Int(byte)] += 1 }
        let chiSquare = counts.reduce(0.0) { $0 + Double(($1 - 1024) * ($1 - 1024)) / 1024 }
        #expect(chiSquare > 120 && chiSquare < 440)  // 255 degrees of freedom; 8 standard deviations to either side.
    }

    @Test("two sources differ")
    func independent() {
        var first = PaddingSource()
        var second = PaddingSource()
        #expect(Self.take(32, from: &first) != Self.take(32, from: &second))
    }

    @Test("random bytes have the length asked for", arguments: [0, 1, 32, 1000])
    func secureRandom(count: Int) {
        #expect(SecureRandom.bytes(count).count == count)
        #expect(count < 32 || SecureRandom.bytes(count) != SecureRandom.bytes(count))
    }
}
