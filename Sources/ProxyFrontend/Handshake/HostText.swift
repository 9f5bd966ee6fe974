internal import OnionAddress
internal import OnionCells

/// Host names as applications send them.
enum HostText {
    /// Return the name that the bytes spell, if it can be asked for: valid UTF-8, 1–255 bytes, no blank and no control
    /// character, which no name server could know. Of an address that is sent as a name, its own text: an IPv6 address may be in
    /// brackets, as it is in URLs.
    static func name(_ bytes: some Collection<UInt8>) -> String? {
        guard bytes.allSatisfy({ $0 > UInt8(ascii: " ") && $0 != 0x7F }),
            let name = String(validating: bytes, as: UTF8.self), Begin.isValidHost(name)
        else { return nil }
        if let address = IPAddress(name) { return Self.text(address) }
        guard name.first == "[", name.last == "]", let address = IPAddress(String(name.dropFirst().dropLast())),
            case .v6 = address
        else { return name }
        return Self.text(address)
    }

    /// Return an address as it is asked for. Programs whose sockets speak IPv6 only write IPv4 addresses as `::ffff:192.0.2.7`;
    /// they mean the IPv4 address, and exits refuse the other.
    static func text(_ address: IPAddress) -> String {
        guard case .v6(hi: 0, lo: let lo) = address, lo >> 32 == 0xFFFF else { return "\(address)" }
        return "\(IPAddress.v4(UInt32(truncatingIfNeeded: lo)))"
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
