import Testing

@testable import OnionClient

@Suite("Client progress")
struct ClientProgressTests {
    @Test("is between 0 and 100, whatever is given", arguments: [(-1, 0), (0, 0), (99, 99), (100, 100), (101, 100)])
    func range(given: Int, percent: Int) { #expect(ClientProgress(percent: given, text: "x").percent == percent) }
}
