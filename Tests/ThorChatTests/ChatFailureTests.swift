import Testing

@testable import ThorChat

@Suite("Failures of a chat, for people")
struct ChatFailureTests {
    @Test("a proxy that does not connect is to be asked why, from the same country") func notConnected() {
        let text = { (country: String?) in
            "\(ChatFailure.notConnected(host: "h.example", country: country).operatorError)"
        }
        #expect(text(nil).contains("'thor-proxy trace https://h.example/' says why"))
        #expect(text("us").contains("from US") && text("us").contains("https://h.example/ --country us'"))
    }
}
