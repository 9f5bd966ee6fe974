internal import OnionCells

/// Host names as applications send them.
enum HostText {
    /// Return the name that the bytes spell, if it can be asked for: valid UTF-8, 1–255 bytes, no NUL.
    static func name(_ bytes: some Collection<UInt8>) -> String? {
        guard let name = String(validating: bytes, as: UTF8.self), Begin.isValidHost(name) else { return nil }
        return name
    }

    /// Split `host:port` or `[v6]:port`, as HTTP's CONNECT has it; the port is 1–65535 and always there.
    static func authority(_ text: Substring) -> (host: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let portText = text[text.index(after: colon)...]
        guard portText.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let port = UInt16(portText), port != 0
        else { return nil }
        var host = text[..<colon]
        if host.first == "[" {
            guard host.last == "]" else { return nil }
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil
        }
        return Self.name(host.utf8).map { ($0, port) }
    }
}
