package import NIOCore

/// Counts what goes through the proxy, and how fast it has been going for the last few seconds. Pure.
///
/// - Invariant: a rate is over whole seconds that are past, so that it does not depend on when in a second it is asked.
package struct TrafficMeter: Sendable, Equatable {
    /// What has gone through, and how fast; in and out as the programs see it.
    package struct Reading: Codable, Equatable, Sendable {
        /// Bytes of streams that came out of the network, and that went into it, since the start.
        package var inByteCount: UInt64 = 0
        package var outByteCount: UInt64 = 0
        /// Bytes a second, over the last five seconds.
        package var inBytesPerSecond: Double = 0
        package var outBytesPerSecond: Double = 0

        package init() {}
    }

    private struct Second: Sendable, Equatable {
        var number: Int64 = -1
        var inByteCount = 0
        var outByteCount = 0
    }

    /// Seconds that a rate is over.
    static let span = 5

    private var inByteCount: UInt64 = 0
    private var outByteCount: UInt64 = 0
    private let startedAt: NIODeadline
    /// The last few seconds, the present one included, each at its number modulo their count.
    private var seconds = [Second](repeating: Second(), count: Self.span + 1)

    package init(now: NIODeadline) { self.startedAt = now }

    /// Bytes went through.
    mutating func count(in inByteCount: Int, out outByteCount: Int, now: NIODeadline) {
        self.inByteCount &+= UInt64(truncatingIfNeeded: inByteCount)
        self.outByteCount &+= UInt64(truncatingIfNeeded: outByteCount)
        let number = self.number(now)
        let index = Int(number % Int64(self.seconds.count))
        if self.seconds[index].number != number { self.seconds[index] = Second(number: number) }
        self.seconds[index].inByteCount += inByteCount
        self.seconds[index].outByteCount += outByteCount
    }

    package func reading(now: NIODeadline) -> Reading {
        let present = self.number(now)
        let past = self.seconds.filter { $0.number < present && $0.number >= present - Int64(Self.span) }
        // In the first seconds there are fewer behind us.
        let count = Double(max(1, min(Int64(Self.span), present)))
        var reading = Reading()
        reading.inByteCount = self.inByteCount
        reading.outByteCount = self.outByteCount
        reading.inBytesPerSecond = Double(past.reduce(0) { $0 + $1.inByteCount }) / count
        reading.outBytesPerSecond = Double(past.reduce(0) { $0 + $1.outByteCount }) / count
        return reading
    }

    private func number(_ now: NIODeadline) -> Int64 { max(0, (now - self.startedAt).nanoseconds / 1_000_000_000) }
}
