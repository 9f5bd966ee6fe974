import Foundation
import NIOCore
import OnionAddress
import OnionCells
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Replies")
struct ReplyTests {
    /// DESIGN §10, written out once more: a change of the table must be meant.
    private static let table: [(StreamFailure, socks5: UInt8, http: String)] = [
        (.ended(.unspecified), 1, "502"), (.ended(.finished), 1, "502"), (.ended(.connectionRefused), 5, "502"),
        (.ended(.noSuchName), 4, "502"), (.ended(.resolveFailed), 4, "504"), (.ended(.hostUnreachable), 4, "502"),
        (.ended(.networkUnreachable), 3, "502"), (.ended(.timedOut), 6, "504"), (.ended(.exitPolicy), 2, "403"),
        (.ended(.reset), 1, "502"), (.ended(.resourceLimit), 1, "503"), (.ended(.notAllowed), 2, "403"),
        (.ended(.shuttingDown), 1, "502"), (.noCircuit, 1, "503"), (.invalidRequest, 1, "400"),
        (.tooManyCircuits, 1, "503"),
        (.noExitAllows(port: 25), 2, "403"), (.notReady("x"), 1, "503"), (.shuttingDown, 1, "503"),
        (.noExitMeets(.any), 2, "403"), (.wishNotUnderstood, 2, "400"), (.addressRefused, 2, "403"),
    ]

    @Test("every failure has its reply in every protocol", arguments: Self.table)
    func failures(failure: StreamFailure, socks5: UInt8, http: String) {
        #expect(Array(ProxyReply.failed(.socks5, failure).readableBytesView) == socks5Failure(socks5))
        #expect(Array(ProxyReply.failed(.socks4, failure).readableBytesView) == [0, 91, 0, 0, 0, 0, 0, 0])
        let text = String(buffer: ProxyReply.failed(.http, failure))
        #expect(text.hasPrefix("HTTP/1.1 \(http) "))
    }

    @Test("every reason that the wire has is in the table")
    func complete() {
        for reason in EndReason.allCases { #expect(Self.table.contains { $0.0 == .ended(reason) }) }
    }

    @Test("success")
    func success() {
        #expect(Array(ProxyReply.connected(.socks5).readableBytesView) == [5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        #expect(Array(ProxyReply.connected(.socks4).readableBytesView) == [0, 90, 0, 0, 0, 0, 0, 0])
        #expect(String(buffer: ProxyReply.connected(.http)) == "HTTP/1.1 200 Connection established\r\n\r\n")
    }

    @Test("an HTTP failure says how long its body is")
    func bodyLength() throws {
        let text = String(buffer: ProxyReply.failed(.http, .noCircuit))
        let end = try #require(text.range(of: "\r\n\r\n"))
        #expect(text.contains("\r\nContent-Length: \(text[end.upperBound...].utf8.count)\r\n"))
        #expect(text.contains("\r\nProxy-Status: thor; error="))
    }

    @Test("that there is no room for a circuit has two causes, and both are told")
    func tooManyCircuits() {
        let text = HTTPReply(.tooManyCircuits).text
        #expect(text.contains("are in use") && text.contains("too many requests wait"))
    }

    private func resolved(_ kind: ProxyProtocol, _ query: Resolve, _ values: [Resolved.Answer.Value]) -> [UInt8] {
        let answers = Resolved.answers(values.map { Resolved.Answer($0, ttlSeconds: 60) })
        return Array(ProxyReply.resolved(kind, query, answers).readableBytesView)
    }

    @Test("look-ups: IPv4 before IPv6, names for addresses, and nothing of the wrong kind")
    func lookUps() {
        let (v4, v6) = (IPAddress.v4(0x0102_0304), IPAddress.v6(hi: 1, lo: 2))
        let name = Resolve.addresses(of: "a.test")
        #expect(self.resolved(.socks5, name, [.address(v6), .address(v4)]) == [5, 0, 0, 1, 1, 2, 3, 4, 0, 0])
        #expect(
            self.resolved(.socks5, name, [.name("b.test"), .address(v6)])
                == [5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0])
        #expect(self.resolved(.socks5, name, [.name("b.test")]) == socks5Failure(4))
        #expect(
            self.resolved(.socks5, .name(of: v4), [.address(v4), .name("ab")]) == [5, 0, 0, 3, 2, 0x61, 0x62, 0, 0])
        #expect(self.resolved(.socks4, name, [.address(v4)]) == [0, 90, 0, 0, 1, 2, 3, 4])
        #expect(self.resolved(.socks4, name, [.address(v6)]) == [0, 91, 0, 0, 0, 0, 0, 0])
        let failed = ProxyReply.resolved(.socks5, name, .failed(.timedOut))
        #expect(Array(failed.readableBytesView) == socks5Failure(6))
    }
}
