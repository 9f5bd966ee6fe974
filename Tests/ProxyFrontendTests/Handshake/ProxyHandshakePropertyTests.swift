import TestSupport
import Testing

@testable import ProxyFrontend

@Suite("Handshakes, whatever comes")
struct ProxyHandshakePropertyTests {
    private static let conversations: [[UInt8]] = [
        SOCKS5Bytes.greeting + SOCKS5Bytes.name(bytes("example.com")) + bytes("early"),
        SOCKS5Bytes.accountGreeting + SOCKS5Bytes.account(bytes("name"), bytes("password"))
            + SOCKS5Bytes.name(bytes("example.com")) + bytes("early"),
        SOCKS5Bytes.greeting + [5, 1, 0, 4] + [UInt8](repeating: 7, count: 16) + [0, 80, 1, 2, 3],
        SOCKS5Bytes.greeting + [5, 2, 0, 1, 1, 2, 3, 4, 0, 80],
        [4, 1, 0, 80, 0, 0, 0, 1] + bytes("bob") + [0] + bytes("example.com") + [0] + bytes("early"),
        bytes("CONNECT a.test:443 HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\n\r\nearly"),
        bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        [0x16, 3, 1, 0, 0],
    ]

    @Test("no split of the input changes what happens", arguments: Self.conversations)
    func everySplit(conversation: [UInt8]) {
        let whole = Transcript(conversation).outcome
        #expect(whole.end != .waiting)
        #expect(Transcript(conversation, splits: Array(1..<conversation.count)).outcome == whole)
        for first in 0...conversation.count {
            #expect(Transcript(conversation, splits: [first]).outcome == whole)
            for second in first...conversation.count {
                #expect(Transcript(conversation, splits: [first, second]).outcome == whole)
            }
        }
    }

    @Test("a conversation cut short waits, and asks for nothing", arguments: Self.conversations.prefix(3))
    func truncated(conversation: [UInt8]) {
        guard case .request = Transcript(conversation).end else {
            Issue.record("no request")
            return
        }
        let needed = conversation.count - Transcript(conversation).rest.count
        for count in 0..<needed { #expect(Transcript(Array(conversation.prefix(count))).end == .waiting) }
    }

    @Test("random bytes never trap, whatever their split, and little is kept", arguments: 0..<40 as Range<UInt64>)
    func random(seed: UInt64) {
        var generator = SplitMix64(seed)
        let starts: [[UInt8]] = [
            [], [5], [4], SOCKS5Bytes.greeting, SOCKS5Bytes.accountGreeting, SOCKS5Bytes.greeting + [5, 1, 0, 3],
            bytes("CONNECT "), bytes("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization:"),
        ]
        for _ in 0..<200 {
            let start = starts.randomElement(using: &generator) ?? []
            let count = Int.random(in: 0...600, using: &generator)
            let input = start + (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let cut = Int.random(in: 0...input.count, using: &generator)
            let whole = Transcript(input)
            #expect(whole.maximumPending <= ProxyHandshake.maximumPendingByteCount, "seed \(seed)")
            #expect(Transcript(input, splits: [cut]).outcome == whole.outcome, "seed \(seed)")
        }
    }

    @Test(
        "a conversation with one byte changed never traps and does not depend on its split",
        arguments: Self.conversations)
    func mutated(conversation: [UInt8]) {
        var generator = SplitMix64(UInt64(conversation.count))
        for index in conversation.indices {
            var changed = conversation
            changed[index] = UInt8.random(in: 0...255, using: &generator)
            let byByte = Transcript(changed, splits: Array(1..<changed.count))
            #expect(byByte.outcome == Transcript(changed).outcome)
        }
    }

    @Test("bytes without end leave no more than the limit in the buffer", arguments: [5, 4, 0x47] as [UInt8])
    func bounded(first: UInt8) {
        let endless = [first] + [UInt8](repeating: 0x61, count: 64 * 1024)
        let result = Transcript(endless, splits: Array(stride(from: 1, to: endless.count, by: 97)))
        #expect(result.end != .waiting)
        #expect(result.maximumPending <= ProxyHandshake.maximumPendingByteCount)
    }
}
