import ArgumentParser
import CTiming
import Foundation

/// Looks for secrets in the time that code takes, by dudect's method. Ends with 1 if it finds one, and with 2 if it cannot
/// find the one that is put before it, or finds one where there is none.
@main
struct OnionTimingCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "onion-timing", abstract: "Look for secrets in the time that code takes.")

    @Option(help: "How long each is measured, in seconds.")
    var seconds = 4.0
    @Option(help: "Only what has this in its name.")
    var filter: String?

    func validate() throws {
        guard self.seconds > 0 else { throw ValidationError("a time is above 0") }
    }

    func run() throws {
        if timing_pin() < 0 { print("The thread could not be pinned to one processor.") }
        var subjects = Subjects(time: .milliseconds(Int64(self.seconds * 1000)), filter: self.filter)
        let controls = subjects.measureControls()
        try subjects.measureCipher()
        subjects.measureComparisons()
        try subjects.measureHandshake()
        try subjects.measurePassphrase()

        print("| what | measurements | median, ticks | worst t | |")
        print("| --- | ---: | ---: | ---: | --- |")
        self.show(controls.leaking, controls.leaking.statistic > Measurement.leak ? "found, as it must" : "NOT FOUND")
        self.show(controls.same, controls.same.statistic > Measurement.leak ? "FOUND" : "")
        for row in subjects.rows { self.show(row, Self.verdict(row)) }
        guard controls.leaking.statistic > Measurement.leak else {
            print("The comparison that stops early was not found: the measurements say nothing.")
            throw ExitCode(2)
        }
        guard controls.same.statistic <= Measurement.leak else {
            print("Two classes that are the same were told apart: the measurements say nothing.")
            throw ExitCode(2)
        }
        let leaking = subjects.rows.filter { $0.statistic > Measurement.leak }
        guard leaking.isEmpty else {
            print("Secrets show in the time of: \(leaking.map(\.name).joined(separator: "; ")).")
            throw ExitCode(1)
        }
    }

    private static func verdict(_ row: Measurement.Row) -> String {
        row.statistic > Measurement.leak ? "LEAK" : row.statistic > Measurement.suspicion ? "to be looked at" : ""
    }

    private func show(_ row: Measurement.Row, _ verdict: String) {
        print(
            "| \(row.name) | \(row.count) | \(row.medianTicks) | \(String(format: "%.2f", row.statistic)) | \(verdict) |"
        )
    }
}
