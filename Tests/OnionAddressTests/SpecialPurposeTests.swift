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
