import Foundation

/// Welch's t-test of two classes of times, in one pass.
///
/// - Source: Welford's method; Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?" (2017)
struct Welch {
    private var counts = (0.0, 0.0)
    private var means = (0.0, 0.0)
    private var sums = (0.0, 0.0)

    mutating func add(_ value: Double, isRandom: Bool) {
        if isRandom {
            Self.add(value, &self.counts.1, &self.means.1, &self.sums.1)
        } else {
            Self.add(value, &self.counts.0, &self.means.0, &self.sums.0)
        }
    }

    private static func add(_ value: Double, _ count: inout Double, _ mean: inout Double, _ sum: inout Double) {
        count += 1
        let difference = value - mean
        mean += difference / count
        sum += difference * (value - mean)
    }

    /// |t|; 0 while there are too few of either class.
    var statistic: Double {
        guard self.counts.0 > 1000, self.counts.1 > 1000 else { return 0 }
        let variance =
            self.sums.0 / (self.counts.0 - 1) / self.counts.0 + self.sums.1 / (self.counts.1 - 1) / self.counts.1
        let difference = abs(self.means.0 - self.means.1)
        return variance > 0 ? difference / variance.squareRoot() : difference > 0 ? .infinity : 0
    }

    /// Whether there are enough of both classes for a verdict.
    var isConclusive: Bool { self.counts.0 > 1000 && self.counts.1 > 1000 }
}
