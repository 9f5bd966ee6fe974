extension IPAddress: CustomStringConvertible, LosslessStringConvertible {
    /// Parse a strict literal: `a.b.c.d` with four decimal numbers and no leading zero, or RFC 4291 §2.2 text for IPv6.
    ///
    /// What `inet_aton` would also take is refused, because two readers of one text must never see two addresses: `127.1`, `0177.0.0.1`,
    /// `0x7f000001`, `2130706433`, zones (`fe80::1%eth0`), brackets, spaces, digits that are not ASCII.
    ///
    /// - Returns: nil when the text is anything else.
    public init?(_ text: some StringProtocol) {
        let characters = Array(text.utf8)
        guard characters.count <= Self.maximumTextByteCount else { return nil }
        if characters.contains(UInt8(ascii: ":")) {
            guard let bits = Self.parseIPv6(characters) else { return nil }
            self = .v6(bits)
        } else {
            guard let value = Self.parseIPv4(characters[...]) else { return nil }
            self = .v4(value)
        }
    }

    /// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
    static let maximumTextByteCount = 45

    /// The address as RFC 5952 wants it written; IPv4-mapped addresses end in dotted decimal (its §5).
    public var description: String {
        switch self {
        case .v4(let value): return Self.dotted(value)
        case .v6(let hi, let lo):
            if hi == 0, lo >> 32 == 0xffff { return "::ffff:" + Self.dotted(UInt32(truncatingIfNeeded: lo)) }
            return Self.ipv6Text(hi: hi, lo: lo)
        }
    }

    private static func dotted(_ value: UInt32) -> String {
        "\(value >> 24).\(value >> 16 & 0xff).\(value >> 8 & 0xff).\(value & 0xff)"
    }

    private static func ipv6Text(hi: UInt64, lo: UInt64) -> String {
        let groups = [hi, lo].flatMap { half in stride(from: 48, through: 0, by: -16).map { half >> $0 & 0xffff } }
        // The first of the longest runs of two or more zero groups becomes "::".
        var longest = 0..<0
        var start = 0
        while start < groups.count {
            let end = groups[start...].firstIndex { $0 != 0 } ?? groups.count
            if end - start > max(longest.count, 1) { longest = start..<end }
            start = end + 1
        }
        func text(_ part: ArraySlice<UInt64>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard !longest.isEmpty else { return text(groups[...]) }
        return text(groups[..<longest.lowerBound]) + "::" + text(groups[longest.upperBound...])
    }

    private static func parseIPv4(_ characters: ArraySlice<UInt8>) -> UInt32? {
        let parts = characters.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard let number = parseDecimal(part, maximum: 255) else { return nil }
            value = value << 8 | UInt32(number)
        }
        return value
    }

    private static func parseIPv6(_ characters: [UInt8]) -> UInt128? {
        let colon = UInt8(ascii: ":")
        var groups: [UInt16] = []
        var gap: Int?
        var rest = characters[...]
        if rest.starts(with: [colon, colon]) {
            gap = 0
            rest = rest.dropFirst(2)
        }
        while !rest.isEmpty {
            let group = rest.prefix { $0 != colon }
            let after = rest[group.endIndex...]
            if after.isEmpty, group.contains(UInt8(ascii: ".")) {
                guard let value = parseIPv4(group) else { return nil }
                groups.append(UInt16(truncatingIfNeeded: value >> 16))
                groups.append(UInt16(truncatingIfNeeded: value))
                break
            }
            guard let value = parseHexadecimal(group) else { return nil }
            groups.append(value)
            if after.starts(with: [colon, colon]) {
                guard gap == nil else { return nil }
                gap = groups.count
                rest = after.dropFirst(2)
            } else if !after.isEmpty {
                rest = after.dropFirst()
                guard !rest.isEmpty else { return nil }
            } else {
                rest = after
            }
        }
        if let gap {
            guard groups.count < 8 else { return nil }
            groups.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: gap)
        }
        guard groups.count == 8 else { return nil }
        return groups.reduce(UInt128(0)) { $0 << 16 | UInt128($1) }
    }

    private static func parseHexadecimal(_ digits: ArraySlice<UInt8>) -> UInt16? {
        guard (1...4).contains(digits.count) else { return nil }
        var value: UInt16 = 0
        for digit in digits {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt16(digit - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt16(digit - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt16(digit - UInt8(ascii: "A") + 10)
            default: return nil
            }
        }
        return value
    }
}

/// Parse a decimal number of at most five ASCII digits, with no sign and no leading zero; nil when it is anything else.
func parseDecimal(_ digits: some Collection<UInt8>, maximum: Int) -> Int? {
    guard (1...5).contains(digits.count) else { return nil }
    guard digits.count == 1 || digits.first != UInt8(ascii: "0") else { return nil }
    var value = 0
    for digit in digits {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
        value = value * 10 + Int(digit - UInt8(ascii: "0"))
    }
    return value <= maximum ? value : nil
}
