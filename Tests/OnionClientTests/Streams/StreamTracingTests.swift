import NIOCore
import OnionCells
import Testing

@testable import OnionClient

@Suite("Traced streams", .timeLimit(.minutes(1)))
struct StreamTracingTests {
    private func trace(
        _ client: TestClient, _ host: String, port: UInt16 = 443, exit: ExitWish = .any
    ) async throws -> TracedStream {
        let promise = client.loop.makePromise(of: TracedStream.self)
        let request = StreamRequest(
            host: host, port: port, isolation: IsolationKey(protocolName: "trace", destination: host), exit: exit)
        try await client.onLoop { core, _ in StreamTracing(request, core: core, promise: promise).start() }
        return try await promise.futureResult.get()
    }

    @Test("tells the path, and how long each step took")
    func steps() async throws {
        try await withClient { client in
            let traced = try await self.trace(client, "echo", exit: ExitWish(countries: .only(["SE"])))
            client.discard(try traced.result.get())
            let trace = traced.trace
            let circuit = try #require(trace.circuit)
            #expect(circuit.hops.count == 3 && circuit.hops.last?.country == "SE")
            for hop in circuit.hops {
                #expect(try #require(hop.buildSeconds) > 0)
                #expect(try #require(hop.roundTripSeconds) > 0)
            }
            #expect(circuit.roundTripSeconds == circuit.hops.last?.roundTripSeconds)
            let sum = circuit.hops.compactMap(\.buildSeconds).reduce(0, +)
            #expect(abs(sum - (try #require(circuit.buildSeconds))) < 1e-6)
            // It was measured by itself, and not taken from the building.
            let known = try await client.onLoop { core, _ in core.status().circuits }
            #expect(!known.contains { $0.roundTripSeconds == circuit.roundTripSeconds })
            #expect(trace.addresses == ["1.2.3.4"] && trace.tryCount == 1 && trace.failedStep == nil)
            for seconds in [trace.circuitWaitSeconds, trace.resolveSeconds, trace.connectSeconds] {
                #expect(try #require(seconds) >= 0)
            }
            // The name was looked up apart, and Begin had what came of it.
            try await client.expectBegins("1.2.3.4", 1)
            try await client.expectBegins("echo", 0)
        }
    }

    @Test("an address is not looked up; all steps are on one circuit, which nobody else gets")
    func address() async throws {
        try await withClient { client in
            let traced = try await self.trace(client, "192.0.2.7")
            client.discard(try traced.result.get())
            #expect(traced.trace.resolveSeconds == nil && traced.trace.addresses.isEmpty)
            // The look-up for the round trip, and the stream.
            #expect(traced.trace.circuit?.carriedStreamCount == 2)
            client.discard(try await client.open("echo").get())
            let circuits = try await client.onLoop { core, _ in core.status().circuits }
            #expect(circuits.map(\.carriedStreamCount).filter { $0 > 0 }.sorted() == [1, 2])
        }
    }

    @Test("says at which step it failed")
    func failures() async throws {
        try await withClient { client in
            let nowhere = try await self.trace(client, "echo", exit: ExitWish(countries: .only(["ZZ"])))
            #expect(nowhere.trace.failedStep == .circuit && nowhere.trace.circuit == nil)
            let smtp = try await self.trace(client, "192.0.2.7", port: 25)
            #expect(smtp.trace.failedStep == .circuit)
            guard case .failure(.noExitAllows(port: 25)) = smtp.result else {
                Issue.record("\(smtp.result)")
                return
            }
            let refused = try await self.trace(client, "192.0.2.66")
            #expect(refused.trace.failedStep == .connect)
            #expect(throws: StreamFailure.ended(.connectionRefused)) { try refused.result.get() }
        }
    }

    @Test("the status tells destinations only to whoever wants to be told, and only of open streams")
    func destinations() async throws {
        for reveals in [false, true] {
            try await withClient(revealsDestinations: reveals) { client in
                let stream = try await client.open("echo", port: 443).get()
                let told = { try await client.onLoop { core, _ in core.status().circuits.compactMap(\.destinations) } }
                #expect(try await told().flatMap { $0 } == (reveals ? ["echo:443"] : []))
                client.discard(stream)
                // The end of a stream is told at the end of the loop's turn.
                while try await told().contains(where: { !$0.isEmpty }) { await Task.yield() }
            }
        }
    }
}
