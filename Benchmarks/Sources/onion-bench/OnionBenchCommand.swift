import ArgumentParser
import Foundation

/// Measures the smallest parts of each layer: time and allocations.
@main
struct OnionBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "onion-bench", abstract: "Measure the parts of each layer: time and allocations.")

    @Option(help: "How many samples of each, of which the median is given.")
    var samples = 11
    @Option(help: "How long one sample takes, in ms.")
    var sampleTime = 20
    @Option(help: "Only what has this in its name.")
    var filter: String?
    @Flag(help: "JSON rather than a table.")
    var json = false

    func validate() throws {
        guard self.samples > 0, self.sampleTime > 0 else { throw ValidationError("counts and times are above 0") }
    }

    func run() throws {
        guard Meter.counterWorks() else {
            throw BenchError.badFixture("the allocation counter does not count: not linked before the C library?")
        }
        var meter = Meter(
            sampleCount: self.samples, sampleTime: .milliseconds(self.sampleTime), filter: self.filter)
        try measureCipher(&meter)
        try measureHandshake(&meter)
        try measureCells(&meter)
        try measureMachines(&meter)
        try measureDirectory(&meter)
        if self.json { self.printJSON(meter.rows) } else { self.printTable(meter.rows) }
    }

    private func printTable(_ rows: [Meter.Row]) {
        print("The allocation counter has checked itself. Median of \(self.samples) samples.\n")
        print("| layer | what | ns, median | ns, least | allocations |")
        print("| --- | --- | ---: | ---: | ---: |")
        for row in rows {
            let figures = [row.nanoseconds, row.leastNanoseconds].map { String(format: "%.1f", $0) }
            print(
                "| \(row.layer) | \(row.name) | \(figures[0]) | \(figures[1]) | "
                    + String(format: row.allocations == 0 ? "0" : "%.3f", row.allocations) + " |")
        }
    }

    private func printJSON(_ rows: [Meter.Row]) {
        let lines = rows.map { row in
            """
              {"layer": "\(row.layer)", "name": "\(row.name)", "nanoseconds": \(row.nanoseconds), \
            "leastNanoseconds": \(row.leastNanoseconds), "allocations": \(row.allocations)}
            """
        }
        print("[\n\(lines.joined(separator: ",\n"))\n]")
    }
}

/// What can go wrong before anything is measured.
enum BenchError: Error { case badFixture(String) }

/// Unwrap what a measurement needs.
func need<T>(_ value: T?, _ what: String) throws -> T {
    guard let value else { throw BenchError.badFixture(what) }
    return value
}
