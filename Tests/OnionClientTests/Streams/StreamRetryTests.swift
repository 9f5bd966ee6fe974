import OnionCells
import Testing

@testable import OnionClient

@Suite("Stream retry")
struct StreamRetryTests {
    private let hello: [UInt8] = [22, 3, 1, 0, 4, 1, 0, 0, 0]

    @Test("a stream whose circuit dies is tried again three times, and no more")
    func circuitDies() {
        var retry = StreamRetry(limit: 3, otherExitLimit: 2, earlyData: [])
        for _ in 0..<3 { #expect(retry.circuitDied() == .tryAgain(byAnotherExit: false)) }
        #expect(retry.circuitDied() == .fail(.noCircuit))
    }

    @Test("bytes that have gone out are not sent twice")
    func earlyData() {
        var retry = StreamRetry(limit: 3, otherExitLimit: 2, earlyData: Array("POST /".utf8))
        #expect(retry.circuitDied() == .fail(.noCircuit))
        #expect(retry.timedOut() == .fail(.ended(.timedOut)))
    }

    @Test("a ClientHello may be sent again")
    func clientHello() {
        var retry = StreamRetry(limit: 3, otherExitLimit: 2, earlyData: self.hello)
        #expect(retry.circuitDied() == .tryAgain(byAnotherExit: false))
    }

    @Test("an exit that refuses for its own reasons is replaced, whatever was sent", arguments: EndReason.allCases)
    func refusals(reason: EndReason) {
        var retry = StreamRetry(limit: 3, otherExitLimit: 2, earlyData: [1])
        let isExits: Set<EndReason> = [.exitPolicy, .notAllowed, .resourceLimit, .shuttingDown]
        let isSites: Set<EndReason> = [
            .connectionRefused, .hostUnreachable, .networkUnreachable, .timedOut, .reset, .resolveFailed,
        ]
        let expected: StreamRetry.Decision =
            isExits.union(isSites).contains(reason) ? .tryAgain(byAnotherExit: true) : .fail(.ended(reason))
        #expect(retry.refused(reason) == expected)
        #expect(StreamRetry.isOfSite(reason) == isSites.contains(reason))
    }

    @Test("of a destination that refuses, two more exits are asked, and its own answer is what counts")
    func siteRefuses() {
        var retry = StreamRetry(limit: 3, otherExitLimit: 2, earlyData: [])
        #expect(retry.refused(.connectionRefused) == .tryAgain(byAnotherExit: true))
        #expect(retry.refused(.timedOut) == .tryAgain(byAnotherExit: true))
        #expect(retry.refused(.connectionRefused) == .fail(.ended(.connectionRefused)))
        var other = StreamRetry(limit: 1, otherExitLimit: 2, earlyData: [])
        #expect(other.refused(.connectionRefused) == .tryAgain(byAnotherExit: true))
        #expect(other.timedOut() == .fail(.ended(.connectionRefused)))
        #expect(other.lastFailure == .ended(.connectionRefused))
    }

    @Test("tells a ClientHello from a record with something behind it")
    func helloBytes() {
        #expect(TLSClientHello.isBeginning(of: self.hello))
        #expect(TLSClientHello.isBeginning(of: self.hello.dropLast()))
        #expect(!TLSClientHello.isBeginning(of: self.hello + [0]))
        #expect(!TLSClientHello.isBeginning(of: [23] + self.hello.dropFirst()))
        #expect(!TLSClientHello.isBeginning(of: self.hello.prefix(5)))
        // Another version of the record, a handshake message that is no ClientHello, a record larger than TLS allows.
        #expect(!TLSClientHello.isBeginning(of: [22, 2] + self.hello.dropFirst(2)))
        #expect(!TLSClientHello.isBeginning(of: self.hello.prefix(5) + [2] + self.hello.dropFirst(6)))
        #expect(TLSClientHello.isBeginning(of: [22, 3, 1, 0x40, 0, 1]))
        #expect(!TLSClientHello.isBeginning(of: [22, 3, 1, 0x40, 1, 1]))
        #expect(!TLSClientHello.isBeginning(of: []))
    }
}
