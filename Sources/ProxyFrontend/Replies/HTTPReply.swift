internal import NIOCore
internal import OnionCells
internal import OnionClient

/// The answer to an HTTP request: a status line, and for failures a reason that programs (Proxy-Status) and people can read.
///
/// No answer says more of the destination than the application knows.
///
/// - Source: RFC 9110 §15; RFC 9209 (Proxy-Status and its error types)
struct HTTPReply: Equatable, Sendable {
    var status: String
    /// The error type of RFC 9209.
    var error: String
    /// One sentence for people.
    var text: String
    var extraFields: String = ""

    /// The answer to a CONNECT whose stream is open; the tunnel begins after it.
    static let established = ByteBuffer(string: "HTTP/1.1 200 Connection established\r\n\r\n")

    static let badRequest = HTTPReply(
        status: "400 Bad Request", error: "http_request_error",
        text: "This is not a request that Thor can read. CONNECT wants HOST:PORT.")
    static let headTooLarge = HTTPReply(
        status: "431 Request Header Fields Too Large", error: "http_request_error",
        text: "The head of the request is longer than \(HTTPHandshake.maximumHeadByteCount) bytes.")
    static let passwordNeeded = HTTPReply(
        status: "407 Proxy Authentication Required", error: "http_request_denied",
        text: "This proxy wants a password.", extraFields: "Proxy-Authenticate: Basic realm=\"thor\"\r\n")

    /// Tell the application why there is no stream.
    init(_ failure: StreamFailure) {
        switch failure {
        case .ended(let reason): self.init(reason)
        case .noCircuit:
            self.init("503 Service Unavailable", "destination_unavailable", "No circuit could be built in time.")
        case .tooManyCircuits:
            self.init(
                "503 Service Unavailable", "connection_limit_reached",
                "All circuits that Thor may have, or that one user's destinations may, are in use, or too many "
                    + "requests wait for one: each user, and each isolated destination, takes its own.")
        case .invalidRequest:
            self.init("400 Bad Request", "http_request_error", "The host or port cannot be asked for.")
        case .noExitAllows:
            self.init("403 Forbidden", "http_request_denied", "No exit of this network allows that port.")
        case .noExitMeets(let wish):
            self.init("403 Forbidden", "http_request_denied", "No exit of this network is \(wish).")
        case .wishNotUnderstood:
            self.init(
                "400 Bad Request", "http_request_error",
                "The wish for an exit cannot be read: country-se, country-not-us or exit-FINGERPRINT, before any +.")
        case .addressRefused:
            self.init(
                "403 Forbidden", "http_request_denied",
                "This proxy refuses addresses (--refuse-addresses): leave it to look names up.")
        case .notReady(let what):
            self.init("503 Service Unavailable", "proxy_internal_error", "Thor is not ready: \(what).")
        case .shuttingDown:
            self.init("503 Service Unavailable", "proxy_internal_error", "Thor is stopping.")
        }
    }

    private init(_ reason: EndReason) {
        switch reason {
        case .connectionRefused:
            self.init("502 Bad Gateway", "connection_refused", "The destination refused the connection.")
        case .noSuchName: self.init("502 Bad Gateway", "dns_error", "There is no such name.")
        case .resolveFailed: self.init("504 Gateway Timeout", "dns_timeout", "The exit's name servers gave no answer.")
        case .hostUnreachable, .networkUnreachable:
            self.init("502 Bad Gateway", "destination_ip_unroutable", "The exit cannot reach the destination.")
        case .timedOut:
            self.init("504 Gateway Timeout", "connection_timeout", "The destination did not answer in time.")
        case .exitPolicy, .notAllowed:
            self.init("403 Forbidden", "destination_ip_prohibited", "The exit's policy forbids this destination.")
        case .reset: self.init("502 Bad Gateway", "connection_terminated", "The destination reset the connection.")
        case .resourceLimit:
            self.init("503 Service Unavailable", "connection_limit_reached", "The exit is at its limit.")
        case .unspecified, .finished, .shuttingDown:
            self.init("502 Bad Gateway", "destination_unavailable", "The exit could not connect, and does not say why.")
        }
    }

    private init(_ status: String, _ error: String, _ text: String) {
        self.init(status: status, error: error, text: text)
    }

    private init(status: String, error: String, text: String, extraFields: String = "") {
        self.status = status
        self.error = error
        self.text = text
        self.extraFields = extraFields
    }

    /// The whole answer; the connection closes after it.
    var bytes: ByteBuffer {
        ByteBuffer(
            string: "HTTP/1.1 \(self.status)\r\nProxy-Status: thor; error=\(self.error)\r\n\(self.extraFields)"
                + "Content-Type: text/plain; charset=utf-8\r\nContent-Length: \(self.text.utf8.count + 1)\r\n"
                + "Connection: close\r\n\r\n\(self.text)\n")
    }

    /// The answer to everything but CONNECT: what this port is.
    ///
    /// - Parameter withBody: false for HEAD.
    static func page(withBody: Bool) -> ByteBuffer {
        let body = """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><title>This is a Thor proxy</title></head>
            <body><h1>This is a Thor proxy</h1>
            <p>It is no web site. Programs use this address and port as a SOCKS5, SOCKS4a or HTTP proxy, and their
            connections go through three onion routers.</p>
            <p>In a browser, set it as SOCKS v5 host and let it look up names through the proxy. With curl:</p>
            <pre>curl --proxy socks5h://ADDRESS:PORT https://example.com/</pre>
            </body></html>

            """
        return ByteBuffer(
            string: "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/html; charset=utf-8\r\n"
                + "Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(withBody ? body : "")")
    }
}
