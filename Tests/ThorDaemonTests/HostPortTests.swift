import Testing

@testable import ThorDaemon

@Suite("Host and port")
struct HostPortTests {
    @Test(
        "reads names and literals, with and without a port",
        arguments: [
            ("ds.example.org", "ds.example.org", nil), ("ds.example.org:9030", "ds.example.org", 9030),
            ("192.0.2.1:0", "192.0.2.1", 0), ("[2001:db8::1]:65535", "2001:db8::1", 65535), ("[::1]", "::1", nil),
            ("::1", "::1", nil), ("bücher.example:1", "bücher.example", 1),
        ] as [(String, String, UInt16?)])
    func good(text: String, host: String, port: UInt16?) {
        #expect(HostPort(argument: text) == HostPort(host: host, port: port))
    }

    @Test(
        "refuses what is neither",
        arguments: [
            "", ":9030", "host:", "host:65536", "host:-1", "host:+1", "host:9x", "[::1", "[::1]9030", "[host]:1",
            "a b:1",
            "host/1:2", "[]:1", "\u{06d6}::1", "a[b:1", "a]b:1", "[[::1]:1",
        ])
    func bad(text: String) { #expect(HostPort(argument: text) == nil) }

    @Test(
        "tells addresses from names, and what only this machine can reach from the rest",
        arguments: [
            ("127.0.0.1:1", true, true), ("[::1]:1", true, true), ("localhost", true, true), ("0.0.0.0:0", true, false),
            ("[::]:0", true, false), ("192.0.2.1:0", true, false), ("9030", false, false),
            ("a.example:1", false, false),
        ])
    func kind(text: String, isAddress: Bool, isLoopback: Bool) throws {
        let place = try #require(HostPort(argument: text))
        #expect(place.isAddress == isAddress && place.isLoopback == isLoopback)
    }

    @Test("writes an IPv6 literal in brackets") func description() {
        #expect("\(HostPort(host: "::1", port: 1))" == "[::1]:1")
        #expect("\(HostPort(host: "a", port: nil))" == "a")
    }
}
