extension IPAddress {
    /// The IPv4 address that packets to this IPv6 address may end up at, if its form embeds one.
    ///
    /// | form | prefix | where | source |
    /// | --- | --- | --- | --- |
    /// | compatible | `::/96`, without `::` and `::1` | last 32 bits | RFC 4291 §2.5.5.1 |
    /// | mapped | `::ffff:0:0/96` | last 32 bits | RFC 4291 §2.5.5.2 |
    /// | translated | `::ffff:0:0:0/96` | last 32 bits | RFC 2765 §2.1 |
    /// | NAT64 | `64:ff9b::/96` | last 32 bits | RFC 6052 §2.1 |
    /// | 6to4 | `2002::/16` | bits 16–47 | RFC 3056 §2 |
    /// | Teredo | `2001::/32` | last 32 bits, inverted | RFC 4380 §4 |
    public var embeddedIPv4: IPAddress? {
        guard case .v6(let hi, let lo) = self else { return nil }
        let last = UInt32(truncatingIfNeeded: lo)
        switch (hi, lo >> 32) {
        case (0, 0): return lo > 1 ? .v4(last) : nil
        case (0, 0xffff), (0, 0xffff_0000), (0x0064_ff9b_0000_0000, 0): return .v4(last)
        default: break
        }
        if hi >> 48 == 0x2002 { return .v4(UInt32(truncatingIfNeeded: hi >> 16)) }
        if hi >> 32 == 0x2001_0000 { return .v4(~last) }
        return nil
    }
}
