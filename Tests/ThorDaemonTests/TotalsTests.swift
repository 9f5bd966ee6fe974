import CoreMetrics
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle
import TestSupport
import Testing

@testable import ThorDaemon

@Suite("Totals")
struct TotalsTests {
    @Test(
        "are rounded up: to ten, or to two digits",
        arguments: [
            (-1, 0), (0, 0), (1, 10), (10, 10), (11, 20), (99, 100), (100, 100), (101, 110), (990, 990), (991, 1000),
            (1000, 1000), (1001, 1100), (123_456, 130_000), (Int64.max, Int64.max),
        ] as [(Int64, Int64)])
    func rounding(value: Int64, expected: Int64) { #expect(Totals.rounded(value) == expected) }

    @Test("counters of one label are one, whatever their dimensions; what is zero is left out") func labels() {
        let totals = Totals()
        totals.makeCounter(label: "a", dimensions: []).increment(by: 30)
        totals.makeCounter(label: "a", dimensions: [("peer", "198.51.100.7")]).increment(by: 12)
        _ = totals.makeCounter(label: "b", dimensions: [])
        #expect(totals.rounded == ["a": 50])
        totals.makeCounter(label: "a", dimensions: []).increment(by: .max)
        #expect(totals.rounded == ["a": .max])
    }

    @Test("are logged as one line at info, once an interval and at the end") func report() async throws {
        let totals = Totals()
        totals.makeCounter(label: "router.circuits.created", dimensions: []).increment(by: 1234)
        let lines = NIOLockedValueBox<[String]>([])
        var logger = Logger(label: "test") { _ in EventLog(lines: lines) }
        logger.logLevel = .info
        let report = TotalsReport(totals: totals, interval: .milliseconds(20), logger: logger)
        let task = Task { try await report.run() }
        while lines.withLockedValue({ $0.count }) < 2 { try await Task.sleep(for: .milliseconds(5)) }
        task.cancel()
        _ = await task.result
        let found = lines.withLockedValue { $0 }
        #expect(found.count >= 3)
        #expect(found.allSatisfy { $0 == "info totals router.circuits.created=1300" })
    }

    @Test("a quiet daemon says so at its end, and only then") func quiet() async {
        let lines = NIOLockedValueBox<[String]>([])
        let report = TotalsReport(
            totals: Totals(), interval: .seconds(3600), logger: Logger(label: "test") { _ in EventLog(lines: lines) })
        let task = Task { try await report.run() }
        task.cancel()
        _ = await task.result
        #expect(lines.withLockedValue { $0 } == ["info totals"])
    }
}
