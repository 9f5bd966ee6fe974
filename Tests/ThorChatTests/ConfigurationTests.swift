import Testing
import ThorDaemon

@testable import ThorChat

@Suite("Configuration of a chat")
struct ConfigurationTests {
    private func make(_ url: String, proxy: HostPort?) throws(OperatorError) {
        _ = try ChatClient.Configuration(baseURL: url, apiKey: "k", model: "m", proxy: proxy, caFile: nil)
    }

    @Test("refuses a plain address through the proxy: the exit would read the key") func plain() throws {
        let proxy = HostPort(host: "127.0.0.1", port: 1080)
        #expect(throws: OperatorError.self) { try self.make("http://example.com/v1", proxy: proxy) }
        try self.make("https://example.com/v1", proxy: proxy)
        try self.make("http://localhost:8000/v1", proxy: nil)
    }

    @Test(
        "a country is two letters, or not- and two letters; and needs a proxy",
        arguments: [("se", true), ("not-us", true), ("swe", false), ("s1", false), ("", false), ("not-", false)])
    func country(country: String, isValid: Bool) {
        let make = { (proxy: HostPort?) in
            try? ChatClient.Configuration(
                baseURL: "https://example.com/v1", apiKey: "k", model: "m", proxy: proxy, country: country, caFile: nil)
        }
        #expect((make(HostPort(host: "127.0.0.1", port: 1080)) != nil) == isValid)
        #expect(make(nil) == nil)
    }

    @Test(
        "refuses what is no base URL",
        arguments: ["", "example.com", "ftp://example.com", "https://", "https://a:b@c/"])
    func malformed(url: String) {
        #expect(throws: OperatorError.self) { try self.make(url, proxy: nil) }
    }
}
