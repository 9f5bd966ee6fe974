import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Status text")
struct StatusTextTests {
    @Test("a client that has just started")
    func start() {
        let status = ProxyStatus(
            client: ClientStatus(progress: ClientProgress(percent: 10, text: "asking for the consensus")))
        #expect(
            StatusText.lines(status, now: 0) == """
                10%: asking for the consensus
                consensus: none yet
                guard: none yet
                traffic: in 0 B/s, out 0 B/s; in all 0 B in, 0 B out
                circuits: 0 now, 0 built, 0 failed; 0 streams open
                """)
    }

    @Test("a client with a circuit; a nickname cannot write to the terminal as it likes")
    func circuit() {
        let hop = ClientStatus.Hop(
            fingerprint: "AAAA", nickname: "evil\u{1B}[2J", address: "192.0.2.1:9001", country: "se")
        let client = ClientStatus(
            progress: ClientProgress(percent: 100, text: "circuits are open"),
            consensus: .init(revision: 1, routerCount: 5, validUntil: 8000), guard: hop,
            circuits: [
                .init(
                    state: .open, hops: [hop], ageSeconds: 130, roundTripSeconds: 0.0421, streamCount: 1,
                    carriedStreamCount: 7, destinations: ["example.com\u{1B}:443"])
            ], builtCircuitCount: 3, failedCircuitCount: 1, openStreamCount: 1,
            usualBuildSeconds: 0.4, buildLimitSeconds: 2.4)
        var traffic = TrafficMeter.Reading()
        traffic.inByteCount = 3 << 20
        traffic.outBytesPerSecond = 1536
        let status = ProxyStatus(
            client: client, listeners: ["127.0.0.1:1080", "unix:/run/x"], wantsPassword: true, traffic: traffic)
        #expect(
            StatusText.lines(status, now: 500) == """
                ready: circuits are open
                listening: 127.0.0.1:1080 unix:/run/x (with a password)
                consensus: 5 onion routers, valid for 2 h 5 min
                guard: evil?[2J (se) 192.0.2.1:9001 AAAA
                traffic: in 0 B/s, out 1.5 KiB/s; in all 3.0 MiB in, 0 B out
                circuits: 1 now, 3 built, 1 failed; 1 stream open
                building a circuit: 400 ms as a rule, given up after 2400 ms
                  open, 2 min old, round trip 42 ms, 1 stream of 7 so far
                    1. evil?[2J (se) 192.0.2.1:9001 AAAA
                    to example.com?:443
                """)
    }

    @Test("all routers by country and nickname, with address and version; an exit is told from one that is none")
    func routers() {
        var status = ClientStatus(progress: ClientProgress(percent: 100, text: "x"))
        var (thor, loki) = (
            ClientStatus.Hop(fingerprint: "AAAA", nickname: "Thor", address: "192.0.2.1:9001", country: "se"),
            ClientStatus.Hop(fingerprint: "BBBB", nickname: "Loki", address: "[2001:db8::1]:9001")
        )
        (thor.software, loki.software) = ("thor 0.1.0", "thor 0.2.0")
        status.routers = [thor, loki]
        status.exits = [loki]
        #expect(
            StatusText.routers(status) == """
                -- Loki BBBB [2001:db8::1]:9001 exit thor 0.2.0
                se Thor AAAA 192.0.2.1:9001 no-exit thor 0.1.0
                """)
    }

    @Test("a consensus has expired in the second in which it does")
    func expiry() {
        var client = ClientStatus(progress: ClientProgress(percent: 100, text: "x"))
        client.consensus = .init(revision: 1, routerCount: 5, validUntil: 8000)
        for (now, text) in [(7999, "valid for 1 s"), (8000, "expired"), (8001, "expired")] as [(UInt64, String)] {
            #expect(StatusText.lines(ProxyStatus(client: client), now: now).contains("routers, \(text)\n"))
        }
    }

    @Test(
        "what turns or hides text, or moves the cursor, is not printed", arguments: ["\u{202E}", "\u{200B}", "\u{7}"])
    func printable(mark: String) { #expect(StatusText.printable("a\(mark)b") == "a?b") }

    @Test(
        "durations, of nonsense too",
        arguments: [
            (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h 0 min"), (-5, "0 s"), (.nan, "0 s"),
            (.infinity, "0 s"), (1e300, "277777 h 46 min"),
        ] as [(Double, String)])
    func duration(seconds: Double, text: String) { #expect(StatusText.duration(seconds) == text) }

    @Test(
        "times and amounts in few digits",
        arguments: [
            (nil, "-"), (.nan, "-"), (.infinity, "-"), (-1, "0.0 ms"), (1e300, "1000000000 ms"), (0.000_04, "0.0 ms"),
            (0.0099, "9.9 ms"), (0.0123, "12 ms"), (61.5, "61500 ms"),
        ]
            as [(Double?, String)])
    func milliseconds(seconds: Double?, text: String) { #expect(StatusText.milliseconds(seconds) == text) }

    @Test(
        "bytes in units of 1024",
        arguments: [
            (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10_240, "10 KiB"), (5e9, "4.7 GiB"), (.infinity, "0 B"),
            (-1, "0 B"), (1e300, "909495 TiB"),
        ] as [(Double, String)])
    func bytes(count: Double, text: String) { #expect(StatusText.bytes(count) == text) }
}
