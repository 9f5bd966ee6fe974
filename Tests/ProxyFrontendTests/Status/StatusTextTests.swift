import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Status text")
struct StatusTextTests {
    @Test("a client that has just started")
    func start() {
        let status = ClientStatus(progress: ClientProgress(percent: 10, text: "asking for the consensus"))
        #expect(
            StatusText.lines(status, now: 0) == """
                10%: asking for the consensus
                consensus: none yet
                guard: none yet
                circuits: 0 now, 0 built, 0 failed; 0 streams open
                """)
    }

    @Test("a client with a circuit; a nickname cannot write to the terminal as it likes")
    func circuit() {
        let hop = ClientStatus.Hop(
            fingerprint: "AAAA", nickname: "evil\u{1B}[2J", address: "192.0.2.1:9001", country: "se")
        let status = ClientStatus(
            progress: ClientProgress(percent: 100, text: "circuits are open"),
            consensus: .init(revision: 1, routerCount: 5, validUntil: 8000), guard: hop,
            circuits: [.init(state: .open, hops: [hop], ageSeconds: 130, streamCount: 1)], builtCircuitCount: 3,
            failedCircuitCount: 1, openStreamCount: 1)
        #expect(
            StatusText.lines(status, now: 500) == """
                ready: circuits are open
                consensus: 5 onion routers, valid for 2 h 5 min
                guard: evil?[2J (se) 192.0.2.1:9001 AAAA
                circuits: 1 now, 3 built, 1 failed; 1 stream open
                  open, 2 min old, 1 stream
                    1. evil?[2J (se) 192.0.2.1:9001 AAAA
                """)
    }
}
