import CTiming
import Foundation

/// dudect's measurement of one piece of code: does its time tell a fixed secret from a random one?
///
/// Both classes come in random order, their inputs are made before the clock runs, and lie in memory of the same shape. All
/// times are kept; tests are made of all of them and of those below each of a hundred percentiles, which cuts off what the
/// machine adds, and the worst counts.
///
/// - Source: Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?" (2017)
struct Measurement {
    /// What a test found.
    struct Row {
        let name: String
        let count: Int
        /// The worst |t| of all tests.
        let statistic: Double
        let medianTicks: UInt64
    }

    /// Above this there is a leak; above the other, something to look at.
    static let leak = 10.0
    static let suspicion = 4.5

    private static let percentileCount = 100

    let name: String
    /// Measurements whose inputs are made together.
    private let batchCount: Int
    private var ticks: [UInt64] = []
    private var isRandom: [Bool] = []
    private var random = SystemRandomNumberGenerator()

    init(_ name: String, batchCount: Int = 500) {
        self.name = name
        self.batchCount = batchCount
    }

    /// Measure for so long.
    ///
    /// - Parameters:
    ///   - prepare: makes the input of one measurement, of the random class or the fixed one.
    ///   - run: what is timed.
    /// - Returns: what the tests say of all measurements so far.
    mutating func run<Input>(
        for time: Duration, prepare: (_ isRandom: Bool) throws -> Input, run: (inout Input) throws -> Void
    ) rethrows -> Row {
        let end = ContinuousClock.now + time
        repeat {
            let classes = (0..<self.batchCount).map { _ in Bool.random(using: &self.random) }
            var inputs = try classes.map(prepare)
            for index in 0..<self.batchCount {
                let start = timing_ticks()
                try run(&inputs[index])
                let end = timing_ticks()
                // The first few of a batch find cold caches, in whichever class they are.
                guard index >= self.batchCount / 50 else { continue }
                self.ticks.append(end &- start)
                self.isRandom.append(classes[index])
            }
        } while ContinuousClock.now < end
        return self.row
    }

    private var row: Row {
        let sorted = self.ticks.sorted()
        // dudect's percentiles: close together where most times are.
        let limits = (1...Self.percentileCount).map { number -> UInt64 in
            let share = 1 - pow(0.5, 10 * Double(number) / Double(Self.percentileCount))
            return sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))]
        }
        var tests = [Welch](repeating: Welch(), count: limits.count + 1)
        for (ticks, isRandom) in zip(self.ticks, self.isRandom) {
            let value = Double(ticks)
            tests[0].add(value, isRandom: isRandom)
            for index in limits.indices where ticks < limits[index] { tests[index + 1].add(value, isRandom: isRandom) }
        }
        return Row(
            name: self.name, count: self.ticks.count, statistic: tests.map(\.statistic).max() ?? 0,
            medianTicks: sorted[sorted.count / 2])
    }
}
