import NIOCore
import Testing

@testable import ProxyFrontend

@Suite("Traffic")
struct TrafficMeterTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private func at(_ milliseconds: Int64) -> NIODeadline { self.start + .milliseconds(milliseconds) }

    @Test("counts totals, and the rate of whole seconds that are past")
    func rate() {
        var meter = TrafficMeter(now: self.start)
        meter.count(in: 1000, out: 10, now: self.at(100))
        #expect(meter.reading(now: self.at(900)).inBytesPerSecond == 0)
        #expect(meter.reading(now: self.at(900)).inByteCount == 1000)
        meter.count(in: 3000, out: 0, now: self.at(1900))
        #expect(meter.reading(now: self.at(2000)).inBytesPerSecond == 2000)
        #expect(meter.reading(now: self.at(2999)).outBytesPerSecond == 5)
    }

    @Test("what a clock puts before the start is in the first second")
    func early() {
        var meter = TrafficMeter(now: self.start)
        meter.count(in: 100, out: 10, now: self.at(-5000))
        let reading = meter.reading(now: self.at(1000))
        #expect(reading.inBytesPerSecond == 100 && reading.outBytesPerSecond == 10)
    }

    @Test("forgets the rate after its span, also if nothing was counted meanwhile, and never the totals")
    func forgets() {
        var meter = TrafficMeter(now: self.start)
        for second in 0..<20 { meter.count(in: 500, out: 50, now: self.at(Int64(second) * 1000 + 500)) }
        #expect(meter.reading(now: self.at(20_000)).inBytesPerSecond == 500)
        #expect(meter.reading(now: self.at(22_000)).inBytesPerSecond == 300)
        let late = meter.reading(now: self.at(26_000))
        #expect(late.inBytesPerSecond == 0 && late.outBytesPerSecond == 0)
        #expect(late.inByteCount == 10_000 && late.outByteCount == 1000)
    }
}
