import NIOCore
import OnionCrypto
import Testing

/// SplitMix64: small, seeded, the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { self.state = seed }
    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

extension NIODeadline {
    /// A time well after the epoch, so that tests may also go back.
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
}

/// Tags that tests tell apart by number.
func tag(_ number: Int) -> CellTag { CellTag(high: 0, low: UInt64(number)) }

/// An identity for tests; any 32 bytes will do.
func identity(_ number: UInt8) throws -> Ed25519PublicKey {
    try #require(Ed25519PublicKey(rawBytes: [UInt8](repeating: number, count: 32)))
}
