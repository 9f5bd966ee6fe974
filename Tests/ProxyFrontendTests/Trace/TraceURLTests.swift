import Testing

@testable import ProxyFrontend

@Suite("URLs to trace")
struct TraceURLTests {
    @Test(
        "takes URLs apart",
        arguments: [
            ("https://example.com", true, "example.com", 443, "/"),
            ("http://example.com:8080/a%20b?c=d#e", false, "example.com", 8080, "/a%20b?c=d"),
            ("HTTPS://[2001:db8::1]/x", true, "2001:db8::1", 443, "/x"),
            ("http://127.0.0.1:80/", false, "127.0.0.1", 80, "/"),
        ] as [(String, Bool, String, UInt16, String)])
    func valid(text: String, isTLS: Bool, host: String, port: UInt16, target: String) throws {
        let url = try TraceURL(text)
        #expect(url.isTLS == isTLS && url.host == host && url.port == port && url.target == target)
        #expect(url.request.hasPrefix("GET \(target) HTTP/1.1\r\nHost: "))
        #expect(url.request.hasSuffix("\r\n\r\n"))
    }

    @Test("says the port only where it is not the usual one, and brackets addresses")
    func hostField() throws {
        #expect(try TraceURL("https://a.test:443/").request.contains("Host: a.test\r\n"))
        #expect(try TraceURL("http://a.test:443/").request.contains("Host: a.test:443\r\n"))
        #expect(try TraceURL("http://[::1]:81/").request.contains("Host: [::1]:81\r\n"))
    }

    @Test(
        "refuses what cannot be traced",
        arguments: [
            ("", .notURL), ("example.com", .notURL), ("https://", .notURL), ("https:///x", .notURL),
            ("ftp://a/", .scheme("ftp")), ("https://me@a/", .credentials), ("https://me:x@a/", .credentials),
            ("https://:x@a/", .credentials), ("http://a%20b/", .notURL), ("http://ä.test/", .notURL),
            ("http://[fe80::1%25eth0]/", .notURL),
            ("http://a:0/", .port), ("http://a:65536/", .port),
        ] as [(String, TraceURL.Malformed)])
    func malformed(text: String, expected: TraceURL.Malformed) {
        #expect(throws: expected) { try TraceURL(text) }
    }

    @Test(
        "reads the status of an answer's first line",
        arguments: [
            ("HTTP/1.1 200 OK\r", 200), ("HTTP/1.0 404\r", 404), ("HTTP/1.1 20\r", nil), ("SSH-2.0-x 200", nil),
            ("", nil), ("HTTP/1.1 abc", nil),
        ] as [(String, Int?)])
    func status(line: String, status: Int?) { #expect(TraceAnswerHandler.status(line: line) == status) }
}
