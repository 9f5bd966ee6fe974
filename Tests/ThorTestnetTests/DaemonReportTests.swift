import Testing

@testable import ThorTestnet

@Suite("A daemon's standard output")
struct DaemonReportTests {
    @Test(
        "reads the three facts",
        arguments: [
            ("listening 127.0.0.1:40123", DaemonReport.listening(address: "127.0.0.1:40123")),
            ("listening [::1]:9\r", .listening(address: "[::1]:9")),
            ("ready", .ready),
            ("35% fetching the consensus", .progress(percent: 35, text: "fetching the consensus")),
            ("100% done", .progress(percent: 100, text: "done")),
        ])
    func facts(line: String, report: DaemonReport) { #expect(DaemonReport(line: line) == report) }

    @Test(
        "leaves everything else alone",
        arguments: [
            "", " ", "ready ", "Ready", "listening", "listening ", "listening on 127.0.0.1:1", "101% much",
            "-1% little",
            "% of", "x% of", "35 % of", "hello",
        ])
    func others(line: String) { #expect(DaemonReport(line: line) == nil) }
}
