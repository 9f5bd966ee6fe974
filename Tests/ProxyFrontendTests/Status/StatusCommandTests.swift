import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Status commands")
struct StatusCommandTests {
    @Test("reads what it writes")
    func read() throws {
        #expect(StatusCommand(line: StatusCommand.statusLine) == .status)
        #expect(StatusCommand(line: StatusCommand.newIdentityLine) == .newIdentity)
        let plain = try #require(StatusCommand.traceLine(host: "example.com", port: 443, wish: nil))
        #expect(StatusCommand(line: plain) == .trace(host: "example.com", port: 443, exit: .any))
        let wish = try #require(StatusCommand.traceLine(host: "::1", port: 80, wish: "country-se"))
        #expect(
            StatusCommand(line: wish) == .trace(host: "::1", port: 80, exit: ExitWish(countries: .only(["SE"]))))
    }

    @Test(
        "refuses anything else",
        arguments: [
            "", "STATUS", "status ", "newnym x", "trace", "trace 80", "trace 0 a", "trace 65536 a", "trace x a",
            "trace 80 ", "trace 80  country-se", "trace 80 a country-x", "trace 80 a country-se b",
        ])
    func refuse(line: String) { #expect(StatusCommand(line: line) == nil) }

    @Test("does not write a line that would be read as another", arguments: ["a b", "a\nstatus", ""])
    func write(host: String) { #expect(StatusCommand.traceLine(host: host, port: 80, wish: nil) == nil) }
}
