import HostilePeers
import OnionCells
import OnionDirectory
import Testing

@Suite("What hostile peers say they have done", .serialized, .timeLimit(.minutes(3)))
struct PeerTests {
    @Test("a link that the router closes before TLS is up is none")
    func refusedLink() async throws {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.halfOpenPerAddress, to: 16)
        try parameters.set(.connectionsPerAddress, to: 16)
        try await AttackedNetwork.run(parameters: parameters) { network in
            let router = try await network.target.honest()[0]
            let source = Stranger.anybody()
            var links: [HostileLink] = []
            for _ in 0..<16 { links.append(try await HostileLink.dial(router, from: source)) }
            await #expect(throws: PeerError.noLink(router.nickname)) {
                _ = try await HostileLink.dial(router, from: source)
            }
            for link in links { await link.close() }
        }
    }

    @Test("bytes for a link that is closed have not left")
    func closedLink() async throws {
        try await AttackedNetwork.run { network in
            let link = try await HostileLink.dial(try await network.target.honest()[0])
            let ping = HostileLink.cell(0, CellCommand.ping.rawValue, [])
            #expect(await link.sendAndWait(ping, seconds: 10))
            try await Wait.until("the answer has come") { link.drain().contains(.pong) }
            await link.close()
            #expect(await !link.sendAndWait(ping, seconds: 10))
        }
    }

    @Test("what takes longer than its limit is given up")
    func limit() async throws {
        try await Wait.limit("at once", seconds: 60) {}
        await #expect(throws: PeerError.timedOut("for ever")) {
            try await Wait.limit("for ever", seconds: 0.01) { try await Task.sleep(for: .seconds(600)) }
        }
        await #expect(throws: PeerError.notListed) {
            try await Wait.limit("never", seconds: 60) { throw PeerError.notListed }
        }
    }
}
