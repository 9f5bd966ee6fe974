import Testing

@testable import ProxyFrontend

@Suite("HTTP CONNECT handshake")
struct HTTPHandshakeTests {
    private func text(_ transcript: Transcript) -> String { String(decoding: transcript.sent, as: UTF8.self) }

    @Test("CONNECT with early data")
    func connect() {
        let result = Transcript(
            bytes("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nUser-Agent: x\r\n\r\nearly\r\n"))
        #expect(result.sent.isEmpty)
        #expect(result.end == .request(.connect(.http, "example.com", 443)))
        #expect(result.rest == bytes("early\r\n"))
    }

    @Test("CONNECT to an IPv6 literal; bare line feeds")
    func literal() {
        let result = Transcript(bytes("CONNECT [2001:db8::1]:80 HTTP/1.0\n\n"))
        #expect(result.end == .request(.connect(.http, "2001:db8::1", 80)))
    }

    @Test(
        "Proxy-Authorization gives name and password, or tells applications apart as it is",
        arguments: [
            ("Basic YWxpY2U6c2VjOnJldA==", "alice", "sec:ret"), ("basic  YWxpY2U=", "alice", nil),
            ("Bearer abc", "Bearer abc", nil), ("Bearer YWxpY2U=", "Bearer YWxpY2U=", nil),
            ("Basic !!!", "Basic !!!", nil),
        ] as [(String, String, String?)])
    func authorization(value: String, username: String, password: String?) {
        let result = Transcript(bytes("CONNECT a.test:80 HTTP/1.1\r\nPROXY-authorization: \t\(value) \r\n\r\n"))
        let credentials = ProxyCredentials(username: bytes(username), password: password.map(bytes))
        #expect(result.end == .request(.connect(.http, "a.test", 80, credentials)))
    }

    @Test("a password that is asked for is asked for with 407")
    func password() {
        let access = ProxyAccess.password(bytes("sec:ret"))
        let without = Transcript(bytes("CONNECT a.test:80 HTTP/1.1\r\n\r\n"), access: access)
        #expect(self.text(without).hasPrefix("HTTP/1.1 407 "))
        #expect(self.text(without).contains("\r\nProxy-Authenticate: Basic "))
        let with = Transcript(
            bytes("CONNECT a.test:80 HTTP/1.1\r\nProxy-Authorization: Basic YWxpY2U6c2VjOnJldA==\r\n\r\n"),
            access: access)
        if case .request = with.end {} else { Issue.record("refused") }
    }

    @Test(
        "what CONNECT cannot mean is a bad request",
        arguments: [
            "CONNECT a.test HTTP/1.1", "CONNECT a.test:0 HTTP/1.1", "CONNECT a.test:65536 HTTP/1.1",
            "CONNECT :80 HTTP/1.1", "CONNECT ::1:80 HTTP/1.1", "CONNECT [a]:80 HTTP/1.1", "CONNECT [::1:80 HTTP/1.1",
            "CONNECT a.test: HTTP/1.1", "CONNECT a.test:+8 HTTP/1.1", "CONNECT a.test:80", "CONNECT a.test:80 SPDY/3",
            "CONNECT  a.test:80 HTTP/1.1", "HELLO", "GET http://:80/ HTTP/1.1", "GET http://a.test:x/ HTTP/1.1",
            "CONNECT http://a.test/ HTTP/1.1", "CONNECT a\tb:80 HTTP/1.1",
        ])
    func badRequests(line: String) {
        let result = Transcript(bytes("\(line)\r\n\r\n"))
        #expect(self.text(result).hasPrefix("HTTP/1.1 400 "))
        #expect(result.end == .finished)
    }

    @Test("any other request gets a page that says what this port is; HEAD only its head")
    func page() {
        for line in ["GET / HTTP/1.1", "GET https://example.com/ HTTP/1.1", "POST / HTTP/1.0", "HEAD / HTTP/1.1"] {
            let answer = self.text(Transcript(bytes("\(line)\r\nHost: x\r\n\r\n")))
            #expect(answer.hasPrefix("HTTP/1.1 501 "))
            #expect(answer.contains("SOCKS5") != line.hasPrefix("HEAD"))
        }
    }

    @Test("a head at its limit is read, one byte more is refused")
    func headLimit() {
        let start = "CONNECT a.test:80 HTTP/1.1\r\nX: "
        let end = "\r\n\r\n"
        let room = HTTPHandshake.maximumHeadByteCount - start.utf8.count - end.utf8.count
        let fits = Transcript(bytes(start + String(repeating: "x", count: room) + end))
        #expect(fits.end == .request(.connect(.http, "a.test", 80)))
        let long = Transcript(bytes(start + String(repeating: "x", count: room + 1) + end))
        #expect(self.text(long).hasPrefix("HTTP/1.1 431 "))
        let endless = Transcript(bytes("G" + String(repeating: "x", count: HTTPHandshake.maximumHeadByteCount)))
        #expect(self.text(endless).hasPrefix("HTTP/1.1 431 "))
    }
}
