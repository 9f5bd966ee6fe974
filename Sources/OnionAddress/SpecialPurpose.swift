/// The table of addresses that are not the public Internet, so that no exit connects to them by default.
///
/// Explicit on purpose: library predicates such as "is global" get several of these wrong. The first entry that covers an
/// address is the one reported, so narrow ones stand before the wide ones around them.
///
/// - Source: DESIGN §12; IANA special-purpose registries (RFC 6890, RFC 8190), and what is named per entry
public enum SpecialPurpose {
    /// One line of the table.
    public struct Entry: Hashable, Sendable {
        public let prefix: IPPrefix
        public let name: String
        public let source: String
    }

    /// Return the entry that `address` falls under, or nil for the public Internet.
    public static func entry(covering address: IPAddress) -> Entry? {
        self.table.first { $0.prefix.contains(address) }
    }

    /// Return an entry that all of `prefix` falls under, or nil when some of it may be public.
    public static func entry(coveringAllOf prefix: IPPrefix) -> Entry? {
        self.table.first { $0.prefix.contains(prefix) }
    }

    /// Whether `address` is outside the table, and so is the IPv4 address that it may embed.
    public static func isPublicInternet(_ address: IPAddress) -> Bool {
        self.entry(covering: address) == nil
            && address.embeddedIPv4.map { self.entry(covering: $0) == nil } ?? true
    }

    /// Whether `address` is this machine: 127.0.0.0/8, ::1, or the first in its mapped form.
    public static func isLoopback(_ address: IPAddress) -> Bool {
        switch address {
        case .v4(let value): value >> 24 == 127
        case .v6(let hi, let lo): hi == 0 && (lo == 1 || lo >> 24 == 0xffff7f)
        }
    }

    /// All entries, in the order in which they are looked up.
    public static let table: [Entry] = rows.compactMap { row in
        IPPrefix(row.prefix).map { Entry(prefix: $0, name: row.name, source: row.source) }
    }

    /// The table as a person reads it. A test checks that every row parses.
    static let rows: [(prefix: String, name: String, source: String)] = [
        // IPv4
        ("0.0.0.0/8", "this network", "RFC 791 §3.2"),
        ("10.0.0.0/8", "private", "RFC 1918"),
        ("100.64.0.0/10", "carrier-grade NAT", "RFC 6598"),
        ("127.0.0.0/8", "loopback", "RFC 1122 §3.2.1.3"),
        ("168.63.129.16/32", "Azure host agent and metadata", "Microsoft: What is IP address 168.63.129.16?"),
        ("169.254.0.0/16", "link-local, cloud metadata", "RFC 3927"),
        ("172.16.0.0/12", "private", "RFC 1918"),
        ("192.0.0.0/24", "IETF protocol assignments", "RFC 6890 §2.1"),
        ("192.0.2.0/24", "documentation", "RFC 5737"),
        ("192.88.99.0/24", "6to4 relay anycast, deprecated", "RFC 7526"),
        ("192.168.0.0/16", "private", "RFC 1918"),
        ("198.18.0.0/15", "benchmarking", "RFC 2544"),
        ("198.51.100.0/24", "documentation", "RFC 5737"),
        ("203.0.113.0/24", "documentation", "RFC 5737"),
        ("224.0.0.0/4", "multicast", "RFC 5771"),
        ("255.255.255.255/32", "limited broadcast", "RFC 919 §7"),
        ("240.0.0.0/4", "reserved", "RFC 1112 §4"),
        // IPv6: forms that carry an IPv4 address
        ("::/128", "unspecified", "RFC 4291 §2.5.2"),
        ("::1/128", "loopback", "RFC 4291 §2.5.3"),
        ("::/96", "IPv4-compatible, deprecated", "RFC 4291 §2.5.5.1"),
        ("::ffff:0:0/96", "IPv4-mapped", "RFC 4291 §2.5.5.2"),
        ("::ffff:0:0:0/96", "IPv4-translated", "RFC 2765 §2.1"),
        ("64:ff9b::/96", "IPv4/IPv6 translation", "RFC 6052"),
        ("64:ff9b:1::/48", "local-use IPv4/IPv6 translation", "RFC 8215"),
        ("2001::/32", "Teredo", "RFC 4380"),
        ("2002::/16", "6to4", "RFC 3056"),
        // IPv6: the rest
        ("100::/64", "discard only", "RFC 6666"),
        ("100:0:0:1::/64", "dummy prefix", "RFC 9780"),
        ("2001:db8::/32", "documentation", "RFC 3849"),
        ("2001::/23", "IETF protocol assignments", "RFC 2928"),
        ("3fff::/20", "documentation", "RFC 9637"),
        ("5f00::/16", "segment routing identifiers", "RFC 9602"),
        ("fc00::/7", "unique local", "RFC 4193"),
        ("fe80::/10", "link-local", "RFC 4291 §2.5.6"),
        ("fec0::/10", "site-local, deprecated", "RFC 3879"),
        ("ff00::/8", "multicast", "RFC 4291 §2.7"),
        // Global unicast is 2000::/3 and nothing else.
        ("::/3", "not global unicast", "IANA IPv6 address space; RFC 4291 §2.4"),
        ("4000::/2", "not global unicast", "IANA IPv6 address space; RFC 4291 §2.4"),
        ("8000::/1", "not global unicast", "IANA IPv6 address space; RFC 4291 §2.4"),
    ]
}
