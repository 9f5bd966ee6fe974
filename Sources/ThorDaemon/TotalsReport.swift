internal import CoreMetrics
internal import Logging
internal import ServiceLifecycle

/// Logs what the process has counted, every hour and at its end, as one line: `totals router.circuits.created=1200 …`.
///
/// The operator's heartbeat: which limits bite shows in it. Hourly and rounded, so that it tells of no single user.
struct TotalsReport: Service, CustomStringConvertible {
    static let interval = Duration.seconds(3600)

    private static let totals = Totals()

    let totals: Totals
    let interval: Duration
    let logger: Logger

    init(totals: Totals = Self.totals, interval: Duration = Self.interval, logger: Logger) {
        self.totals = totals
        self.interval = interval
        self.logger = logger
    }

    /// Have all counters that are made from now on kept. Call once.
    static func bootstrap() { MetricsSystem.bootstrap(Self.totals) }

    var description: String { "totals report" }

    func run() async throws {
        try? await cancelWhenGracefulShutdown {
            while true {
                try await Task.sleep(for: self.interval)
                self.report()
            }
        }
        self.report()
    }

    private func report() {
        let metadata = self.totals.rounded.map { ($0.key, Logger.MetadataValue.stringConvertible($0.value)) }
        self.logger.info("totals", metadata: Logger.Metadata(metadata) { first, _ in first })
    }
}
