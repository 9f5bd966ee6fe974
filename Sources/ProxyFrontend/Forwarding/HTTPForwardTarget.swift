/// The target of a request in absolute form, `http://host[:port][/path][?query]`, as programs send it that know only an
/// HTTP proxy.
///
/// - Source: RFC 9112 §3.2.2; RFC 9110 §4.2.1
struct HTTPForwardTarget: Equatable, Sendable {
    var host: String
    var port: UInt16
    /// `host`, and the port if it was named: what the Host field says.
    var authority: String
    /// What the origin is asked for: `/path?query`, or `*`.
    var originForm: String

    private static let scheme = "http://"
    private static let defaultPort: UInt16 = 80

    /// Whether a target is meant to be forwarded, readable or not.
    static func hasScheme(_ text: some StringProtocol) -> Bool {
        text.prefix(Self.scheme.count).lowercased() == Self.scheme
    }

    /// Read a target; nil for any other form or scheme. A name and password before an `@` are dropped.
    ///
    /// - Parameters:
    ///   - text: the target as it stands in the request line.
    ///   - method: an OPTIONS without a path asks about the server, `*`.
    init?(_ text: some StringProtocol, method: some StringProtocol) {
        guard Self.hasScheme(text) else { return nil }
        let rest = text.dropFirst(Self.scheme.count)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
        var authority = String(rest[..<end])
        if let at = authority.lastIndex(of: "@") { authority = String(authority[authority.index(after: at)...]) }
        // `host:` is allowed, and means the default port.
        if authority.last == ":" { authority.removeLast() }
        let behindBrackets = authority.first == "[" ? authority.drop { $0 != "]" } : authority[...]
        let hasPort = behindBrackets.contains(":")
        let full = hasPort ? authority : "\(authority):\(Self.defaultPort)"
        guard let (host, port) = HostText.authority(full[...]) else { return nil }
        self.host = host
        self.port = port
        self.authority = authority
        let path = rest[end...].prefix { $0 != "#" }
        if path.isEmpty {
            self.originForm = method == "OPTIONS" ? "*" : "/"
        } else {
            self.originForm = path.first == "/" ? String(path) : "/\(path)"
        }
    }
}
