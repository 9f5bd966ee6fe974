import Testing

@testable import OnionAddress

@Suite("Special-purpose addresses")
struct SpecialPurposeTests {
    @Test("every row of the table parses") func rows() {
        #expect(SpecialPurpose.table.count == SpecialPurpose.rows.count)
        #expect(SpecialPurpose.rows.allSatisfy { !$0.name.isEmpty && !$0.source.isEmpty })
    }

    @Test(
        "hostile targets are not the public Internet",
        arguments: [
            "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.0",
            "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.0", "198.19.255.255",
            "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
            "::", "::1", "::7f00:1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:8.8.8.8",
            "::ffff:169.254.169.254", "0:0:0:0:0:ffff:a00:1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1",
            "64:ff9b::808:808", "64:ff9b:1::1", "64:ff9b:1:ffff::", "2001::1", "2001:0:4136:e378::1", "2001:1ff::1",
            "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "3fff:fff::1", "5f00::1", "100::1",
            "100:0:0:1::1",
            "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "1::1", "4000::1", "8000::1",
            "fe00::1",
        ])
    func hostile(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(!SpecialPurpose.isPublicInternet(address))
        #expect(SpecialPurpose.entry(covering: address) != nil)
    }

    @Test(
        "the addresses around them are",
        arguments: [
            "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
            "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "8.8.8.8",
            "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00::1", "3ffe::1",
        ])
    func publicInternet(text: String) throws {
        #expect(SpecialPurpose.isPublicInternet(try #require(IPAddress(text))))
    }

    @Test(
        "every range is closed from its first address to its last",
        arguments: [
            ("0.0.0.0", "0.255.255.255", "this network"),
            ("10.0.0.0", "10.255.255.255", "private"),
            ("100.64.0.0", "100.127.255.255", "carrier-grade NAT"),
            ("127.0.0.0", "127.255.255.255", "loopback"),
            ("168.63.129.16", "168.63.129.16", "Azure host agent and metadata"),
            ("169.254.0.0", "169.254.255.255", "link-local, cloud metadata"),
            ("172.16.0.0", "172.31.255.255", "private"),
            ("192.0.0.0", "192.0.0.255", "IETF protocol assignments"),
            ("192.0.2.0", "192.0.2.255", "documentation"),
            ("192.88.99.0", "192.88.99.255", "6to4 relay anycast, deprecated"),
            ("192.168.0.0", "192.168.255.255", "private"),
            ("198.18.0.0", "198.19.255.255", "benchmarking"),
            ("198.51.100.0", "198.51.100.255", "documentation"),
            ("203.0.113.0", "203.0.113.255", "documentation"),
            ("224.0.0.0", "239.255.255.255", "multicast"),
            ("255.255.255.255", "255.255.255.255", "limited broadcast"),
            ("240.0.0.0", "255.255.255.254", "reserved"),
            ("::", "::", "unspecified"),
            ("::1", "::1", "loopback"),
            ("::2", "::ffff:ffff", "IPv4-compatible, deprecated"),
            ("::ffff:0:0", "::ffff:ffff:ffff", "IPv4-mapped"),
            ("::ffff:0:0:0", "::ffff:0:ffff:ffff", "IPv4-translated"),
            ("64:ff9b::", "64:ff9b::ffff:ffff", "IPv4/IPv6 translation"),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "local-use IPv4/IPv6 translation"),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"),
            ("100::", "100::ffff:ffff:ffff:ffff", "discard only"),
            ("100:0:0:1::", "100::1:ffff:ffff:ffff:ffff", "dummy prefix"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
            ("2001:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "IETF protocol assignments"),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "segment routing identifiers"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "unique local"),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local, deprecated"),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
            ("1::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
            ("4000::", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
            ("8000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ] as [(String, String, String)])
    func ends(first: String, last: String, name: String) throws {
        for text in [first, last] {
            #expect(SpecialPurpose.entry(covering: try #require(IPAddress(text)))?.name == name, "\(text)")
        }
    }

    @Test("the narrowest entry is named") func names() throws {
        func name(_ text: String) throws -> String? {
            SpecialPurpose.entry(covering: try #require(IPAddress(text)))?.name
        }
        #expect(try name("169.254.169.254") == "link-local, cloud metadata")
        #expect(try name("::1") == "loopback")
        #expect(try name("255.255.255.255") == "limited broadcast")
        #expect(try name("2001:0:1::") == "Teredo")
        #expect(try name("8.8.8.8") == nil)
    }

    @Test(
        "IPv4 inside IPv6 is unwrapped",
        arguments: [
            ("::ffff:127.0.0.1", "127.0.0.1"), ("::10.0.0.1", "10.0.0.1"), ("::ffff:0:10.0.0.1", "10.0.0.1"),
            ("64:ff9b::192.168.0.1", "192.168.0.1"), ("2002:a9fe:a9fe::1", "169.254.169.254"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
        ])
    func embedded(text: String, inner: String) throws {
        #expect(try #require(IPAddress(text)).embeddedIPv4 == IPAddress(inner))
    }

    @Test(
        "what embeds nothing unwraps to nothing",
        arguments: ["::", "::1", "1.2.3.4", "2001:db8::1", "::1:0:0:1", "64:ff9b:0:0:1::1"])
    func notEmbedded(text: String) throws {
        #expect(try #require(IPAddress(text)).embeddedIPv4 == nil)
    }

    @Test("loopback in all forms") func loopback() throws {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            #expect(SpecialPurpose.isLoopback(try #require(IPAddress(text))))
        }
        for text in ["128.0.0.1", "::2", "::127.0.0.1", "::ffff:128.0.0.1", "10.0.0.1"] {
            #expect(!SpecialPurpose.isLoopback(try #require(IPAddress(text))))
        }
    }
}
