import NIOCore
import OnionCrypto
import OnionLink
import TestSupport

/// A node's clock. It may be wrong; it outlives the node's process.
final class SimulatedClock: @unchecked Sendable {
    // @unchecked: as the simulation.

    private let simulation: Simulation
    private var random: SplitMix64
    /// Seconds by which the time of day is ahead of what it should be.
    var error: Int64 = 0

    init(in simulation: Simulation, seed: UInt64) {
        self.simulation = simulation
        self.random = SplitMix64(seed)
    }

    var unixMilliseconds: UInt64 {
        let passed = Int64(self.simulation.now.uptimeNanoseconds / 1_000_000) + self.error * 1000
        return UInt64(clamping: Int64(Simulation.startOfTime) * 1000 + passed)
    }

    var unixSeconds: UInt64 { self.unixMilliseconds / 1000 }

    func randomBytes() -> Bytes32 {
        Bytes32((0..<32).map { _ in UInt8.random(in: 0...255, using: &self.random) }) ?? .zero
    }

    /// What code in tasks on `loop` asks.
    func outside(on loop: SimulatedLoop) -> TimeAndChance {
        TimeAndChance(
            now: { self.simulation.now }, unixMilliseconds: { self.unixMilliseconds },
            sleep: { try await loop.sleep(for: $0) }, randomBytes: { self.randomBytes() })
    }
}
