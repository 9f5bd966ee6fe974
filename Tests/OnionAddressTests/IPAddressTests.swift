import NIOCore
import OnionAddress
import Testing

@Suite("IP address")
struct IPAddressTests {
    @Test(
        "reads strict literals and writes them as RFC 5952 wants",
        arguments: [
            ("0.0.0.0", "0.0.0.0"), ("127.0.0.1", "127.0.0.1"), ("255.255.255.255", "255.255.255.255"),
            ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:DB8::1", "2001:db8::1"),
            ("2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"), ("::ffff:102:304", "::ffff:1.2.3.4"),
            ("64:ff9b::1.2.3.4", "64:ff9b::102:304"), ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ])
    func literals(text: String, canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
        #expect(IPAddress(bytes: address.bytes) == address)
    }

    @Test(
        "refuses every other spelling",
        arguments: [
            "", " ", "1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.01",
            "127.0.0.1.", ".127.0.0.1", "127.0.0.1 ", " 127.0.0.1", "127.0.0.256", "127.0.0.-1", "127.0.0.+1",
            "127..0.1",
            "１２７.0.0.1", "127。0。0。1", "127.0.0.1\0", "1.2.3.4.5", "1.2.3.1000", "localhost", ":", ":::", "::1::",
            "1::2::3", "::1:", "1::2:", ":1", "1:", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::",
            "::1:2:3:4:5:6:7:8",
            "1:2:3:4::5:6:7:8",
            "[::1]", "::1%lo", "fe80::1%eth0", "::12345", "::g", "::-1", "::1/128", "::ffff:1.2.3", "::ffff:1.2.3.04",
            "::1.2.3.4:1", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::", "::ffff:127.1", "0x::1", "::1 ", "１::",
            "00000::1", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555",
        ])
    func refusals(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("orders IPv4 before IPv6 and by number")
    func order() throws {
        let sorted = try ["0.0.0.1", "1.0.0.0", "255.0.0.0", "::", "::1", "0:0:0:1::", "ff00::"].map {
            try #require(IPAddress($0))
        }
        #expect(sorted.reversed().sorted() == sorted)
    }

    @Test("goes over the wire, and is refused cut off at every byte", arguments: ["1.2.3.4:5", "[2001:db8::1]:65535"])
    func wire(text: String) throws {
        let endpoint = try #require(Endpoint(text))
        var buffer = ByteBuffer()
        buffer.writeEndpoint(endpoint)
        var whole = buffer
        #expect(try whole.readEndpoint() == endpoint)
        #expect(whole.readableBytes == 0)
        for count in 0..<buffer.readableBytes {
            var part = try #require(buffer.getSlice(at: 0, length: count))
            #expect(throws: AddressError.truncated) { try part.readEndpoint() }
            #expect(part.readableBytes == count)
        }
        var unknown = ByteBuffer(bytes: [5, 1, 2, 3, 4, 0, 1])
        #expect(throws: AddressError.unknownType(5)) { try unknown.readIPAddress() }
    }

    @Test(
        "refuses an endpoint that is not ADDRESS:PORT",
        arguments: [
            "", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:080", "1.2.3.4:-1", "1.2.3.4:+80", "1.2.3.4:8 0",
            "[1.2.3.4]:80", "::1:80", "[::1]", "[::1]80", "[]:80", "[::1:80", "::1]:80", "[[::1]]:80", "localhost:80",
            ":80",
        ])
    func endpointRefusals(text: String) {
        #expect(Endpoint(text) == nil)
    }

    @Test("prints an endpoint so that it reads back", arguments: ["0.0.0.0:0", "[::1]:9001", "[::ffff:1.2.3.4]:80"])
    func endpointText(text: String) throws {
        #expect(try #require(Endpoint(text)).description == text)
    }

    @Test("prefixes contain what shares their bits")
    func prefixes() throws {
        let ten = try #require(IPPrefix("10.0.0.0/8"))
        #expect(ten.contains(.v4(0x0aff_ffff)))
        #expect(!ten.contains(.v4(0x0b00_0000)))
        #expect(!ten.contains(.v6(hi: 0, lo: 0x0a00_0000)))
        #expect(try ten.contains(#require(IPPrefix("10.1.0.0/16"))))
        #expect(try !ten.contains(#require(IPPrefix("0.0.0.0/0"))))
        #expect(try #require(IPPrefix("0.0.0.0/0")).contains(.v4(.max)))
        #expect(try #require(IPPrefix("::/0")).contains(.v6(hi: .max, lo: .max)))
        #expect(try #require(IPPrefix("::1/128")).contains(.v6(hi: 0, lo: 1)))
        #expect(try #require(IPAddress("192.0.2.1")).pathSubnet == IPPrefix("192.0.0.0/16"))
        #expect(try #require(IPAddress("2001:db8:1::1")).pathSubnet == IPPrefix("2001:db8::/32"))
        for text in [
            "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0", "10.0.0.0/", "10.0.0.0/08", "/8", "10.0.0.0/8/8",
        ] {
            #expect(IPPrefix(text) == nil, "\(text)")
        }
        #expect(IPPrefix(.v4(0), bitCount: -1) == nil)
    }
}
