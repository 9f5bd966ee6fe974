public import OnionAddress

/// One line of an exit policy: `accept|reject ADDRESS[/BITS]|*:PORT[-PORT]|*`, an IPv6 address in brackets.
///
/// Examples: `accept *:443`, `reject 192.0.2.0/24:*`, `accept [2001:db8::]/32:80-443`.
public struct ExitRule: Hashable, Sendable {
    public enum Action: UInt8, Hashable, Sendable { case reject = 0, accept = 1 }

    public var action: Action
    /// Nil is `*`: any address of either family.
    public var prefix: IPPrefix?
    /// Within 1–65535.
    public let ports: ClosedRange<UInt16>

    /// Every port.
    public static let allPorts: ClosedRange<UInt16> = 1...UInt16.max

    /// Make a rule; nil when `ports` has port 0.
    public init?(_ action: Action, _ prefix: IPPrefix?, ports: ClosedRange<UInt16> = ExitRule.allPorts) {
        guard ports.lowerBound >= 1 else { return nil }
        self.init(action, prefix, checked: ports)
    }

    init(_ action: Action, _ prefix: IPPrefix?, checked ports: ClosedRange<UInt16>) {
        self.action = action
        self.prefix = prefix
        self.ports = ports
    }

    /// Whether the rule decides about `address` and `port`.
    ///
    /// A reject rule matches what its text says. An accept rule matches a special-purpose address only if all of its own prefix is
    /// special-purpose: `accept *:*` and `accept 0.0.0.0/0:*` open the public Internet and nothing else, `accept 127.0.0.0/8:*`
    /// opens loopback. So nobody opens the cloud's metadata service by a rule about something else.
    func matches(_ address: IPAddress, port: UInt16) -> Bool {
        guard self.ports.contains(port), self.prefix?.contains(address) ?? true else { return false }
        switch self.action {
        case .reject: return true
        case .accept:
            if SpecialPurpose.entry(covering: address) == nil { return true }
            return self.prefix.map { SpecialPurpose.entry(coveringAllOf: $0) != nil } ?? false
        }
    }
}

extension ExitRule: CustomStringConvertible {
    /// Parse a rule; nil when it is not of the form above, with strict addresses and no bit set after a prefix.
    public init?(_ text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: true)
        guard words.count == 2 else { return nil }
        let action: Action
        switch words[0] {
        case "accept": action = .accept
        case "reject": action = .reject
        default: return nil
        }
        guard let colon = words[1].utf8.lastIndex(of: UInt8(ascii: ":")) else { return nil }
        let (target, portText) = (words[1][..<colon], words[1][words[1].utf8.index(after: colon)...])
        guard let ports = Self.parsePorts(portText), let prefix = Self.parseTarget(target) else { return nil }
        self.init(action, prefix.value, ports: ports)
    }

    public var description: String {
        let target: String
        switch self.prefix {
        case nil: target = "*"
        case .some(let prefix):
            let address = prefix.address.isIPv4 ? "\(prefix.address)" : "[\(prefix.address)]"
            target = prefix.bitCount == prefix.address.bitCount ? address : "\(address)/\(prefix.bitCount)"
        }
        let ports: String
        if self.ports == Self.allPorts {
            ports = "*"
        } else if self.ports.count == 1 {
            ports = "\(self.ports.lowerBound)"
        } else {
            ports = "\(self.ports.lowerBound)-\(self.ports.upperBound)"
        }
        return "\(self.action) \(target):\(ports)"
    }

    /// A target that was understood; nil inside is `*`.
    private struct Target { var value: IPPrefix? }

    private static func parseTarget(_ text: Substring) -> Target? {
        if text == "*" { return Target(value: nil) }
        var text = text
        let isBracketed = text.utf8.first == UInt8(ascii: "[")
        if isBracketed {
            guard let end = text.utf8.firstIndex(of: UInt8(ascii: "]")) else { return nil }
            text = text[text.utf8.index(after: text.startIndex)..<end] + text[text.utf8.index(after: end)...]
        }
        let prefix = text.utf8.contains(UInt8(ascii: "/")) ? IPPrefix(text) : IPAddress(text).map(IPPrefix.init(host:))
        guard let prefix, prefix.address.isIPv4 != isBracketed else { return nil }
        return Target(value: prefix)
    }

    private static func parsePorts(_ text: Substring) -> ClosedRange<UInt16>? {
        if text == "*" { return Self.allPorts }
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map(Self.parsePort)
        guard let first = ends.first, let low = first, ends.count <= 2, let last = ends.last, let high = last,
            low <= high
        else { return nil }
        return low...high
    }

    private static func parsePort(_ text: Substring) -> UInt16? {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            !text.hasPrefix("0")
        else { return nil }
        return UInt16(text)
    }
}
