internal import NIOCore

/// The server's side of HTTP: the head of one request, read line by line; the answer is ``HTTPReply``'s.
///
/// CONNECT asks for a tunnel. A request in absolute form (`GET http://…`) is to be forwarded: only what the proxy needs is
/// read here, and the head kept as it came but for Upgrade, for ``HTTPForwardHandler``.
///
///     requestLine ──▶ fields ──empty line──▶ finished
///
/// Lines end in LF, with or without CR before it. Any other request is answered with a page that says what this port is.
/// A body is never read: what follows the head of a CONNECT was sent ahead of the reply.
///
/// - Source: RFC 9110 §9.3.6; RFC 9112 §3.2.3
struct HTTPHandshake: Sendable {
    /// The longest request head, in bytes, line ends included.
    static let maximumHeadByteCount = 16 * 1024

    private enum Wish {
        case connect(host: String, port: UInt16)
        case forward(HTTPForwardTarget)
        case page(withBody: Bool)
    }
    private struct Fields {
        var credentials = ProxyCredentials.none
        var wishes: [[UInt8]] = []
        /// All lines so far, if they are to be forwarded.
        var head: [UInt8]?

        mutating func keep(_ line: [UInt8]) { self.head?.append(contentsOf: line + Array("\r\n".utf8)) }
    }
    private enum State {
        case requestLine
        case fields(Wish, Fields)
        case finished
    }
    private let access: ProxyAccess
    private var state: State = .requestLine
    /// Bytes of the head taken so far, and how many of those that follow are known to hold no LF.
    private var takenByteCount = 0
    private var scannedByteCount = 0

    init(access: ProxyAccess) { self.access = access }

    /// Take as many lines as are whole from the front of `buffer`.
    mutating func next(from buffer: inout ByteBuffer) -> HandshakeAction {
        while true {
            switch self.state {
            case .finished: return .close
            case .requestLine, .fields: break
            }
            let line: [UInt8]
            switch self.readLine(&buffer) {
            case .incomplete: return .wait
            case .tooLong: return self.finish(.finish(HTTPReply.headTooLarge.bytes))
            case .line(let bytes): line = bytes
            }
            switch self.state {
            case .requestLine:
                guard let wish = Self.wish(line) else { return self.finish(.finish(HTTPReply.badRequest.bytes)) }
                var fields = Fields()
                if case .forward = wish { fields.head = [] }
                fields.keep(line)
                self.state = .fields(wish, fields)
            case .fields(let wish, var fields):
                // No origin sees it, and the decoder would stop behind the request.
                if HTTPField.parts(line)?.name != "upgrade" { fields.keep(line) }
                if line.isEmpty { return self.headCompleted(wish, fields) }
                if let given = HTTPCredentials.credentials(fieldLine: line) {
                    fields.credentials = given
                } else if case .connect = wish, let text = HTTPExitField.wish(fieldLine: line) {
                    fields.wishes.append(text)
                }
                self.state = .fields(wish, fields)
            case .finished: return .close
            }
        }
    }

    private mutating func headCompleted(_ wish: Wish, _ fields: Fields) -> HandshakeAction {
        switch wish {
        case .page(let withBody): return self.finish(.finish(HTTPReply.page(withBody: withBody)))
        case .forward(let target):
            return self.request(.forward, target.host, target.port, fields)
        case .connect(let host, let port):
            return self.request(.http, host, port, fields)
        }
    }

    private mutating func request(
        _ proxyProtocol: ProxyProtocol, _ host: String, _ port: UInt16, _ fields: Fields
    ) -> HandshakeAction {
        guard self.access.admits(fields.credentials) else {
            return self.finish(.finish(HTTPReply.passwordNeeded.bytes))
        }
        return self.finish(
            .request(
                ProxyRequest(
                    proxyProtocol: proxyProtocol, target: .connect(host: host, port: port),
                    credentials: fields.credentials, fieldWishes: fields.wishes, forwardedHead: fields.head ?? [])))
    }

    private static func wish(_ line: [UInt8]) -> Wish? {
        guard let text = String(validating: line, as: UTF8.self) else { return nil }
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return nil }
        if words[0] == "CONNECT" {
            return HostText.authority(words[1]).map { .connect(host: $0.host, port: $0.port) }
        }
        guard HTTPForwardTarget.hasScheme(words[1]) else { return .page(withBody: words[0] != "HEAD") }
        return HTTPForwardTarget(words[1], method: words[0]).map { .forward($0) }
    }

    private enum Line { case incomplete, tooLong, line([UInt8]) }

    /// Take one line, without its end. Bytes without an LF are looked at only once, however few arrive at a time.
    private mutating func readLine(_ buffer: inout ByteBuffer) -> Line {
        let allowed = Self.maximumHeadByteCount - self.takenByteCount
        let view = buffer.readableBytesView.prefix(allowed)
        guard let end = view.dropFirst(self.scannedByteCount).firstIndex(of: UInt8(ascii: "\n")) else {
            self.scannedByteCount = view.count
            return view.count >= allowed ? .tooLong : .incomplete
        }
        var line = Array(view[..<end])
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        self.takenByteCount += end + 1 - view.startIndex
        self.scannedByteCount = 0
        buffer.moveReaderIndex(to: end + 1)
        return .line(line)
    }

    private mutating func finish(_ action: HandshakeAction) -> HandshakeAction {
        self.state = .finished
        return action
    }
}
