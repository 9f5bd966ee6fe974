/// A small deterministic generator, the same everywhere: a test that fails names its seed, and fails again with it.
///
/// - Source: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014
package struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    package init(_ seed: UInt64) { self.state = seed }

    package mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
