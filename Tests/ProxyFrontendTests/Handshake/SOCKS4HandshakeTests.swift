import OnionCells
import Testing

@testable import ProxyFrontend

@Suite("SOCKS4 handshake")
struct SOCKS4HandshakeTests {
    private static let rejected: [UInt8] = [0, 91, 0, 0, 0, 0, 0, 0]

    @Test("an address, with and without a user id")
    func address() {
        let anonymous = Transcript([4, 1, 0, 80, 192, 0, 2, 1, 0] + bytes("early"))
        #expect(anonymous.end == .request(.connect(.socks4, "192.0.2.1", 80)))
        #expect(anonymous.rest == bytes("early"))
        let named = Transcript([4, 1, 0, 80, 192, 0, 2, 1] + bytes("bob") + [0])
        let credentials = ProxyCredentials(username: bytes("bob"), password: nil)
        #expect(named.end == .request(.connect(.socks4, "192.0.2.1", 80, credentials)))
    }

    @Test("a name behind 0.0.0.x is SOCKS4a")
    func name() {
        let result = Transcript([4, 1, 1, 0xBB, 0, 0, 0, 1, 0] + bytes("example.com") + [0, 9])
        #expect(result.end == .request(.connect(.socks4, "example.com", 443)))
        #expect(result.rest == [9])
    }

    @Test("RESOLVE of a name")
    func resolve() {
        let result = Transcript([4, 0xF0, 0, 0, 0, 0, 0, 1, 0] + bytes("a.test") + [0])
        let request = ProxyRequest(
            proxyProtocol: .socks4, target: .lookUp(.addresses(of: "a.test")), credentials: .none)
        #expect(result.end == .request(request))
    }

    @Test("user ids and names at their limits, and one byte more")
    func limits() {
        let longest = [UInt8](repeating: 0x61, count: SOCKS4Handshake.maximumUserIDByteCount)
        let name = [UInt8](repeating: 0x62, count: 255)
        let head: [UInt8] = [4, 1, 0, 80, 0, 0, 0, 1]
        if case .request = Transcript(head + longest + [0] + name + [0]).end {} else { Issue.record("refused") }
        // Its terminator may be still to come.
        #expect(Transcript(head + longest).end == .waiting)
        #expect(Transcript(head + [0] + name).end == .waiting)
        #expect(Transcript(head + longest + [0x61]).sent == Self.rejected)
        #expect(Transcript(head + [0] + name + [0x62]).sent == Self.rejected)
    }

    @Test(
        "BIND, unknown commands, port 0 and an empty name are rejected",
        arguments: [
            [4, 2, 0, 80, 1, 2, 3, 4, 0], [4, 9, 0, 80, 1, 2, 3, 4, 0], [4, 1, 0, 0, 1, 2, 3, 4, 0],
            [4, 1, 0, 80, 0, 0, 0, 1, 0, 0],
        ] as [[UInt8]])
    func rejections(request: [UInt8]) {
        let result = Transcript(request)
        #expect(result.sent == Self.rejected)
        #expect(result.end == .finished)
    }

    @Test("a proxy with a password does not serve SOCKS4")
    func password() {
        let result = Transcript([4, 1, 0, 80, 1, 2, 3, 4, 0], access: .password([1]))
        #expect(result.sent == Self.rejected)
    }
}
