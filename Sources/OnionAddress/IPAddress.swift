/// An IPv4 or IPv6 address as a value: 32 or 128 bits in host order.
///
/// Text is in `IPAddress+Text.swift`, bytes in `IPAddress+Wire.swift`, what is hidden inside in `IPAddress+Embedded.swift`.
public enum IPAddress: Hashable, Sendable {
    case v4(UInt32)
    case v6(hi: UInt64, lo: UInt64)

    /// Make an IPv6 address of its 128 bits.
    public static func v6(_ bits: UInt128) -> IPAddress {
        .v6(hi: UInt64(truncatingIfNeeded: bits >> 64), lo: UInt64(truncatingIfNeeded: bits))
    }

    /// Make an address of its bytes in network order; nil unless there are 4 or 16.
    public init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: self = .v4(bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16: self = .v6(bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) })
        default: return nil
        }
    }

    /// The address in network order: 4 or 16 bytes.
    public var bytes: [UInt8] {
        let bits = self.bits
        return stride(from: self.bitCount - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: bits >> $0) }
    }

    public var isIPv4: Bool {
        switch self {
        case .v4: true
        case .v6: false
        }
    }

    /// 32 or 128.
    public var bitCount: Int {
        switch self {
        case .v4: 32
        case .v6: 128
        }
    }

    /// The address as a number, right-aligned.
    var bits: UInt128 {
        switch self {
        case .v4(let value): UInt128(value)
        case .v6(let hi, let lo): UInt128(hi) << 64 | UInt128(lo)
        }
    }
}

extension IPAddress: Comparable {
    /// Order IPv4 before IPv6, and within each by number, as their bytes on the wire do.
    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        (left.bitCount, left.bits) < (right.bitCount, right.bits)
    }
}
