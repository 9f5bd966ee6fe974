/// The addresses that share their first bits: `10.0.0.0/8`, `2001:db8::/32`.
public struct IPPrefix: Hashable, Sendable, CustomStringConvertible {
    /// The first address: all bits after the prefix are zero.
    public let address: IPAddress
    /// 0–32 or 0–128.
    public let bitCount: Int

    /// Make the prefix of `bitCount` bits that `address` lies in; nil when the address has fewer bits.
    public init?(_ address: IPAddress, bitCount: Int) {
        guard (0...address.bitCount).contains(bitCount) else { return nil }
        self.init(of: address, clamping: bitCount)
    }

    private init(of address: IPAddress, clamping bitCount: Int) {
        self.bitCount = bitCount
        let bits = address.bits & Self.mask(bitCount, of: address.bitCount)
        self.address = address.isIPv4 ? .v4(UInt32(truncatingIfNeeded: bits)) : .v6(bits)
    }

    /// Parse `ADDRESS/BITS`; nil also when a bit after the prefix is set, which is more likely a slip than a wish.
    public init?(_ text: some StringProtocol) {
        let parts = Array(text.utf8).split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(String(decoding: parts[0], as: UTF8.self)),
            let bitCount = parseDecimal(parts[1], maximum: address.bitCount),
            let prefix = IPPrefix(address, bitCount: bitCount), prefix.address == address
        else { return nil }
        self = prefix
    }

    public func contains(_ other: IPAddress) -> Bool {
        other.isIPv4 == self.address.isIPv4
            && other.bits & Self.mask(self.bitCount, of: other.bitCount) == self.address.bits
    }

    /// Whether all of `other` lies in this prefix.
    public func contains(_ other: IPPrefix) -> Bool {
        other.bitCount >= self.bitCount && self.contains(other.address)
    }

    public var description: String { "\(self.address)/\(self.bitCount)" }

    private static func mask(_ bitCount: Int, of width: Int) -> UInt128 {
        let ones = width == 128 ? UInt128.max : (UInt128(1) << 32) - 1
        return ones & ~(ones >> bitCount)
    }
}

extension IPAddress {
    /// The network that two hops of a path must not share: /16 of IPv4, /32 of IPv6.
    ///
    /// - Source: DESIGN §9, the draw
    public var pathSubnet: IPPrefix {
        // Both counts fit their family, so the initializer cannot fail; the whole address would be the safe answer.
        IPPrefix(self, bitCount: self.isIPv4 ? 16 : 32) ?? IPPrefix(host: self)
    }

    /// What counts as one source of connections: an IPv4 address, or a /64 of IPv6, out of which one host may take any
    /// address. An IPv4-mapped address, as a socket for both versions shows it, is the IPv4 address.
    public var sourceNetwork: IPPrefix {
        if case .v6(hi: 0, let lo) = self, lo >> 32 == 0xffff {
            return IPPrefix(host: .v4(UInt32(truncatingIfNeeded: lo)))
        }
        return IPPrefix(self, bitCount: self.isIPv4 ? 32 : 64) ?? IPPrefix(host: self)
    }
}

extension IPPrefix {
    /// The prefix that holds one address alone.
    public init(host address: IPAddress) { self.init(of: address, clamping: address.bitCount) }
}
