import CAllocations
import Foundation

/// Times small pieces of code and counts what they allocate.
struct Meter {
    /// One row of the table.
    struct Row {
        let layer: String
        let name: String
        let nanoseconds: Double
        let leastNanoseconds: Double
        /// Of one call; 0 means that a whole sample allocated nothing.
        let allocations: Double
    }

    let sampleCount: Int
    let sampleTime: Duration
    /// Only what has this in its name.
    let filter: String?
    private(set) var rows: [Row] = []

    init(sampleCount: Int, sampleTime: Duration, filter: String?) {
        self.sampleCount = sampleCount
        self.sampleTime = sampleTime
        self.filter = filter
    }

    /// Measure `body`: as many calls as fill a sample's time, as many samples as asked for, of which the median.
    ///
    /// - Parameter count: how many of the things in the name one call does.
    mutating func measure(_ layer: String, _ name: String, per count: Int = 1, _ body: () throws -> Void) rethrows {
        if let filter, !"\(layer) \(name)".localizedStandardContains(filter) { return }
        var calls = 1
        // The calls before the clock counts: caches warm, and enough of them found.
        while try self.time(calls, body) < self.sampleTime, calls < 1 << 30 { calls *= 2 }
        var samples: [Double] = []
        samples.reserveCapacity(self.sampleCount)
        let before = allocation_count()
        for _ in 0..<self.sampleCount {
            samples.append(try self.time(calls, body) / .nanoseconds(1) / Double(calls * count))
        }
        let allocations = allocation_count() - before
        samples.sort()
        self.rows.append(
            Row(
                layer: layer, name: name, nanoseconds: samples[samples.count / 2], leastNanoseconds: samples[0],
                allocations: Double(allocations) / Double(self.sampleCount * calls * count)))
    }

    private func time(_ calls: Int, _ body: () throws -> Void) rethrows -> Duration {
        let start = ContinuousClock.now
        for _ in 0..<calls { try body() }
        return ContinuousClock.now - start
    }

    /// Check that the counter counts: every way to ask for memory once, and a Swift object.
    static func counterWorks() -> Bool {
        let before = allocation_count()
        allocation_exercise(1_000)
        let exercised = allocation_count() - before
        final class Thing { var value = 0 }
        var things: [Thing] = []
        things.reserveCapacity(1_000)
        let beforeThings = allocation_count()
        for _ in 0..<1_000 { things.append(Thing()) }
        let made = allocation_count() - beforeThings
        let beforeNothing = allocation_count()
        var sum = 0
        for thing in things { sum &+= thing.value }
        let ofNothing = allocation_count() - beforeNothing
        return exercised == 1_000 * UInt64(allocation_way_count()) && made == 1_000 && ofNothing == 0 && sum == 0
    }
}

/// Keep a value from being optimised away.
@inline(never) func use<T>(_ value: borrowing T) {}
