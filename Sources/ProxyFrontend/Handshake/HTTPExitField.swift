/// The fields by which a CONNECT wishes for an exit: `Thor-Country: se`, `Thor-Country: not-us`, `Thor-Exit: FINGERPRINT`.
/// The proxy takes them; no destination sees them. In a request that is forwarded they mean nothing: a web page can write them
/// there, and would choose who sees the user's streams.
enum HTTPExitField {
    private static let prefixes = ["thor-country": "country-", "thor-exit": "exit-"]

    /// Return the wish as a user name has it, or nil if the line is another field.
    static func wish(fieldLine line: [UInt8]) -> [UInt8]? {
        guard let (name, value) = HTTPField.parts(line), let prefix = Self.prefixes[name] else { return nil }
        return Array(prefix.utf8) + value
    }
}
