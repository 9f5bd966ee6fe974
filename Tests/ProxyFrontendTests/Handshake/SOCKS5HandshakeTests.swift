import OnionAddress
import OnionCells
import Testing

@testable import ProxyFrontend

@Suite("SOCKS5 handshake")
struct SOCKS5HandshakeTests {
    @Test("a name is asked for as it came, and what follows is kept")
    func name() {
        let result = Transcript(
            SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("example.com"), port: 443) + bytes("hello"))
        #expect(result.sent == [5, 0])
        #expect(result.end == .request(.connect(.socks5, "example.com", 443)))
        #expect(result.rest == bytes("hello"))
    }

    @Test("an IPv6 address that is sent as a name may be in brackets; other brackets are part of a name")
    func brackets() {
        for (sent, host) in [
            ("[2001:db8::1]", "2001:db8::1"), ("2001:DB8:0::1", "2001:db8::1"), ("[a]", "[a]"), ("[::1x", "[::1x"),
            ("x::1]", "x::1]"),
            ("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7", "192.0.2.7"),
        ] {
            let result = Transcript(SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes(sent)))
            #expect(result.end == .request(.connect(.socks5, host, 80)))
        }
    }

    @Test(
        "names that no name server could know are refused with 1",
        arguments: ["", "a b", " a.test", "a.test\n", "a\tb", "a\u{7F}b", "a\0b"])
    func impossibleNames(name: String) {
        let result = Transcript(SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes(name)))
        #expect(result.sent == [5, 0] + socks5Failure(1))
        #expect(result.end == .finished)
    }

    @Test("IPv4 and IPv6 addresses become literals")
    func addresses() {
        let v4 = Transcript(SOCKS5Bytes.greeting + [5, 1, 0, 1, 192, 0, 2, 7, 0, 80])
        #expect(v4.end == .request(.connect(.socks5, "192.0.2.7", 80)))
        let v6: [UInt8] = [0x20, 1, 0xD, 0xB8] + [UInt8](repeating: 0, count: 11) + [1]
        let result = Transcript(SOCKS5Bytes.greeting + [5, 1, 0, 4] + v6 + [1, 0xBB])
        #expect(result.end == .request(.connect(.socks5, "2001:db8::1", 443)))
        let mapped = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF, 192, 0, 2, 7]
        let meant = Transcript(SOCKS5Bytes.greeting + [5, 1, 0, 4] + mapped + [0, 80])
        #expect(meant.end == .request(.connect(.socks5, "192.0.2.7", 80)))
    }

    @Test("everything in one segment: each reply is sent, data is kept, name and password of 255 bytes")
    func pipelined() {
        let name = [UInt8](repeating: 0xFF, count: 255)
        let password = [UInt8](repeating: 0, count: 255)
        let result = Transcript(
            SOCKS5Bytes.accountGreeting + SOCKS5Bytes.account(name, password) + SOCKS5Bytes.name(bytes("a.test"))
                + bytes("data"))
        #expect(result.sent == [5, 2, 1, 0])
        let credentials = ProxyCredentials(username: name, password: password)
        #expect(result.end == .request(.connect(.socks5, "a.test", 80, credentials)))
        #expect(result.rest == bytes("data"))
    }

    @Test("an empty name and password are taken")
    func emptyAccount() {
        let result = Transcript(
            SOCKS5Bytes.accountGreeting + SOCKS5Bytes.account([], []) + SOCKS5Bytes.name(bytes("a.test")))
        let credentials = ProxyCredentials(username: [], password: [])
        #expect(result.end == .request(.connect(.socks5, "a.test", 80, credentials)))
    }

    @Test(
        "method choice: an account when offered, else none, else 255",
        arguments: [
            ([0], 0), ([2], 2), ([0, 2], 2), ([2, 0], 2), ([1, 0], 0), ([1], 0xFF), ([], 0xFF), ([0x80, 0xFF], 0xFF),
        ] as [([UInt8], UInt8)])
    func methods(offered: [UInt8], chosen: UInt8) {
        let result = Transcript([5, UInt8(offered.count)] + offered)
        #expect(result.sent == [5, chosen])
        #expect(result.end == (chosen == 0xFF ? .finished : .waiting))
    }

    @Test("255 methods are read")
    func allMethods() {
        let result = Transcript([5, 255] + [UInt8](repeating: 1, count: 254) + [0])
        #expect(result.sent == [5, 0])
    }

    @Test("the right account version is asked for")
    func accountVersion() {
        let result = Transcript(SOCKS5Bytes.accountGreeting + [5])
        #expect(result.sent == [5, 2, 1, 1])
        #expect(result.end == .finished)
    }

    @Test("BIND, UDP ASSOCIATE and unknown commands are refused with 7", arguments: [2, 3, 0, 4, 0xEF, 0xF2, 0xFF])
    func commands(command: UInt8) {
        let result = Transcript(SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test"), command: command))
        #expect(result.sent == [5, 0] + socks5Failure(7))
        #expect(result.end == .finished)
    }

    @Test("unknown address types are refused with 8", arguments: [0, 2, 5, 0xFF])
    func addressTypes(type: UInt8) {
        let result = Transcript(SOCKS5Bytes.greeting + [5, 1, 0, type])
        #expect(result.sent == [5, 0] + socks5Failure(8))
        #expect(result.end == .finished)
    }

    @Test(
        "names that cannot be asked for, port 0 and a wrong version are a general failure",
        arguments: [
            SOCKS5Bytes.name([]), SOCKS5Bytes.name([0x61, 0]), SOCKS5Bytes.name([0xFF, 0xFE]),
            SOCKS5Bytes.name([0x61], port: 0), [4], SOCKS5Bytes.name([], command: 0xF0),
        ] as [[UInt8]])
    func badRequests(request: [UInt8]) {
        let result = Transcript(SOCKS5Bytes.greeting + request)
        #expect(result.sent == [5, 0] + socks5Failure(1))
        #expect(result.end == .finished)
    }

    @Test("a name of 255 bytes is asked for")
    func longName() {
        let name = String(repeating: "x", count: 255)
        let result = Transcript(SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes(name)))
        #expect(result.end == .request(.connect(.socks5, name, 80)))
    }

    @Test("the reserved byte does not matter")
    func reserved() {
        let result = Transcript(SOCKS5Bytes.greeting + [5, 1, 0xAA, 1, 1, 2, 3, 4, 0, 80])
        #expect(result.end == .request(.connect(.socks5, "1.2.3.4", 80)))
    }

    @Test("RESOLVE asks for a name, and answers an address by itself")
    func resolve() {
        let name = Transcript(SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("a.test"), port: 0, command: 0xF0))
        #expect(
            name.end
                == .request(
                    ProxyRequest(
                        proxyProtocol: .socks5, target: .lookUp(.addresses(of: "a.test")), credentials: .none)))
        for request: [UInt8] in [
            [5, 0xF0, 0, 1, 10, 1, 2, 3, 0, 0], SOCKS5Bytes.name(bytes("10.1.2.3"), port: 0, command: 0xF0),
        ] {
            let address = Transcript(SOCKS5Bytes.greeting + request)
            #expect(address.sent == [5, 0, 5, 0, 0, 1, 10, 1, 2, 3, 0, 0])
            #expect(address.end == .finished)
        }
    }

    @Test("RESOLVE_PTR asks for an address's name, and wants an address")
    func resolveReverse() {
        let request = Transcript.End.request(
            ProxyRequest(
                proxyProtocol: .socks5, target: .lookUp(.name(of: .v4(0x0A01_0203))), credentials: .none))
        #expect(Transcript(SOCKS5Bytes.greeting + [5, 0xF1, 0, 1, 10, 1, 2, 3, 0, 0]).end == request)
        let text = SOCKS5Bytes.name(bytes("10.1.2.3"), port: 0, command: 0xF1)
        #expect(Transcript(SOCKS5Bytes.greeting + text).end == request)
        let name = SOCKS5Bytes.name(bytes("a.test"), port: 0, command: 0xF1)
        #expect(Transcript(SOCKS5Bytes.greeting + name).sent == [5, 0] + socks5Failure(8))
    }

    @Test("a password that is asked for must be right, whatever the name")
    func password() {
        let access = ProxyAccess.password(bytes("secret"))
        #expect(Transcript(SOCKS5Bytes.greeting, access: access).sent == [5, 0xFF])
        let greeting = SOCKS5Bytes.accountGreeting
        let right = Transcript(greeting + SOCKS5Bytes.account(bytes("any"), bytes("secret")), access: access)
        #expect(right.sent == [5, 2, 1, 0])
        for wrong in ["", "secre", "secrets", "Secret", "sEcret", "seCret", "secRet", "secrEt", "secreT"] {
            let result = Transcript(greeting + SOCKS5Bytes.account(bytes("any"), bytes(wrong)), access: access)
            #expect(result.sent == [5, 2, 1, 1])
            #expect(result.end == .finished)
        }
    }
}
