import Foundation
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Traces as people and programs read them")
struct TraceTextTests {
    private func trace() -> RequestTrace {
        let hops = (1...3).map { index in
            var hop = ClientStatus.Hop(
                fingerprint: "F\(index)", nickname: "Router\(index)", address: "192.0.2.\(index):9001",
                country: index == 2 ? "" : "SE")
            hop.buildSeconds = 0.010 * Double(index)
            hop.roundTripSeconds = 0.008 * Double(index)
            return hop
        }
        var stream = StreamTrace(host: "example.com", port: 443)
        stream.circuit = .init(
            state: .open, hops: hops, ageSeconds: 12.3, buildSeconds: 0.06, roundTripSeconds: 0.024, streamCount: 1)
        stream.circuitWaitSeconds = 0.0001
        stream.resolveSeconds = 0.05
        stream.addresses = ["192.0.2.80"]
        stream.connectSeconds = 0.03
        stream.connectedAddress = "192.0.2.80"
        stream.tryCount = 1
        var trace = RequestTrace(url: "https://example.com/", stream: stream)
        trace.tlsSeconds = 0.041
        trace.firstByteSeconds = 0.025
        trace.httpStatus = 200
        trace.totalSeconds = 0.18
        return trace
    }

    @Test("a table of the path and one of the steps")
    func table() {
        #expect(
            TraceText.lines(self.trace()) == """
                https://example.com/

                hop       router   country  build  round trip  fingerprint
                1 guard   Router1  SE       10 ms  8.0 ms      F1
                2 middle  Router2  --       20 ms  16 ms       F2
                3 exit    Router3  SE       30 ms  24 ms       F3
                circuit: built in 60 ms, 12 s old

                wait for the circuit  0.1 ms
                resolve, at the exit  50 ms   192.0.2.80
                connect, by the exit  30 ms   192.0.2.80
                TLS, with the server  41 ms
                first byte            25 ms   HTTP 200
                in all                180 ms
                """)
    }

    @Test("a failure is told last, without the steps that were not taken")
    func failure() {
        var trace = RequestTrace(url: "http://a.test/", stream: StreamTrace(host: "a.test", port: 80))
        trace.totalSeconds = 0.5
        trace.failure = .init(step: "circuit", text: "No circuit could be built in time.")
        #expect(
            TraceText.lines(trace) == """
                http://a.test/

                in all  500 ms

                failed at circuit: No circuit could be built in time.
                """)
    }

    @Test("as JSON it is one object, and reads back as it was")
    func json() throws {
        var trace = self.trace()
        trace.failure = .init(step: "tls", text: "x")
        let json = try JSONEncoder().encode(trace)
        #expect(try JSONDecoder().decode(RequestTrace.self, from: json) == trace)
        let object = try #require(try JSONSerialization.jsonObject(with: json) as? [String: Any])
        #expect(object["connectSeconds"] as? Double == 0.03 && object["tlsSeconds"] as? Double == 0.041)
        #expect(object["url"] as? String == "https://example.com/" && object["stream"] == nil)
    }

    @Test("a status is one object as well")
    func status() throws {
        let status = ProxyStatus(
            client: ClientStatus(progress: ClientProgress(percent: 5, text: "x")), listeners: ["127.0.0.1:1"],
            wantsPassword: true)
        let json = try JSONEncoder().encode(status)
        #expect(try JSONDecoder().decode(ProxyStatus.self, from: json) == status)
        let object = try #require(try JSONSerialization.jsonObject(with: json) as? [String: Any])
        #expect(object["progress"] != nil && object["traffic"] != nil && object["listeners"] != nil)
    }
}
