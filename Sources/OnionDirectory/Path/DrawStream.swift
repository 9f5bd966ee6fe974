import OnionCrypto

/// The deterministic numbers of one draw, expanded from its seed; the same on any machine.
///
/// Block *i* (from 0) is `BLAKE2b-256(key = seed, "thor path stream v1" | i u64 big-endian)`; its 32 bytes are four words, u64
/// big-endian each, used in order, each once.
struct DrawStream: Sendable {
    private let seed: [UInt8]
    private var block: UInt64 = 0
    /// The words of the last block that are still to be used, the next one last.
    private var words: [UInt64] = []

    private static let label = Array("thor path stream v1".utf8)

    init(seed: Bytes32) { self.seed = seed.bytes }

    mutating func next() -> UInt64 {
        if let word = self.words.popLast() { return word }
        let bytes = BLAKE2b.hash256(Self.label + PathSeed.bigEndian(self.block), key: self.seed).bytes
        self.block &+= 1
        self.words = stride(from: 24, through: 8, by: -8).map { Self.word(bytes[$0..<$0 + 8]) }
        return Self.word(bytes[..<8])
    }

    /// Return a number in `0..<bound`, each equally often: words are cut to the fewest low bits that hold `bound - 1`, and the first
    /// that is below `bound` is it. At least one word is used, also for a bound of 1. On average fewer than two are.
    ///
    /// - Precondition: `bound` is not 0.
    mutating func next(below bound: UInt64) -> UInt64 {
        precondition(bound > 0, "a draw from nothing")
        let largest = bound - 1
        let mask = largest == 0 ? 0 : UInt64.max >> UInt64(largest.leadingZeroBitCount)
        while true {
            let value = self.next() & mask
            if value <= largest { return value }
        }
    }

    /// Draw one of `candidates`, each in proportion to its weight; nil when there is none.
    ///
    /// A number below the sum of the weights is drawn; the candidate is the first, in the order given, at which the sum so far exceeds
    /// it. (Weights are at most 2^40 and candidates at most 1024, so the sum cannot overflow.)
    ///
    /// - Parameter routers: of the consensus, in its order.
    /// - Complexity: O(candidates).
    mutating func draw(from candidates: RouterSet, of routers: [ConsensusRouter]) -> Int? {
        var sum: UInt64 = 0
        candidates.forEach { sum += routers[$0].weight }
        guard sum > 0 else { return nil }
        var left = self.next(below: sum)
        return candidates.first { index in
            let weight = routers[index].weight
            if left < weight { return true }
            left -= weight
            return false
        }
    }

    private static func word(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
}
