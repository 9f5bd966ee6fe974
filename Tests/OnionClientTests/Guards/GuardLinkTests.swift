import NIOCore
import OnionCircuits
import OnionDirectory
import OnionLink
import OnionStreams
import Testing

@testable import OnionCells
@testable import OnionClient

@Suite("Guard links over loopback", .timeLimit(.minutes(1)))
struct GuardLinkTests {
    @Test("a circuit that is over before the link opens is not begun on it")
    func overBefore() async throws {
        try await withClient { client in
            let guarded = try await GuardFixture.make(client)
            try await client.loop.submit {
                let circuit = guarded.value.makeCircuit()
                guarded.value.guardLink.add(circuit)
                circuit.close()
            }.get()
            try await GuardFixture.untilOpen(guarded, 1, client)
            try await client.loop.submit {
                #expect(guarded.value.linkBox.link?.circuitCount == 0)
                guarded.value.guardLink.close()
            }.get()
        }
    }

    @Test("a link without ids takes no more circuits, and ends with its last")
    func spent() async throws {
        try await withClient { client in
            let guarded = try await GuardFixture.make(client)
            try await GuardFixture.untilOpen(guarded, 1, client)
            try await client.loop.submit {
                let guardLink = guarded.value.guardLink
                guardLink.ids.next = CircuitID.diallerBit - 1
                let circuits = (0..<2).map { _ in guarded.value.makeCircuit() }
                for circuit in circuits { guardLink.add(circuit) }
                #expect(!circuits[0].isOver && circuits[1].isOver && guardLink.isSpent)
                #expect(guarded.value.recorder.endings.isEmpty)
                circuits[0].close()
            }.get()
            for _ in 0..<100 where try await client.loop.submit({ guarded.value.recorder.endings.isEmpty }).get() {}
            #expect(try await client.loop.submit { guarded.value.recorder.endings }.get() == [.lost])
        }
    }

    @Test("a probe of a link that stands says so at once")
    func probe() async throws {
        try await withClient { client in
            let guarded = try await GuardFixture.make(client)
            let links = try await client.loop.submit {
                let fixture = guarded.value
                let links = GuardLinks(
                    eventLoop: client.loop, timeLimit: .seconds(30), dial: fixture.dial, owner: fixture.recorder)
                links.probe(fixture.path[0])
                return NIOLoopBound(links, eventLoop: client.loop)
            }.get()
            // With that of the fixture's own link.
            try await GuardFixture.untilOpen(guarded, 2, client)
            try await client.loop.submit {
                links.value.probe(guarded.value.path[0])
                #expect(guarded.value.recorder.openedCount == 3)
                links.value.closeAll()
                guarded.value.guardLink.close()
            }.get()
        }
    }
}

/// A link to a guard of a client's network, apart from the client's own. Lives on the client's event loop.
private final class GuardFixture {
    /// Keeps what links and circuits say.
    final class Recorder: GuardLinkOwner, ClientCircuitOwner {
        private(set) var openedCount = 0
        private(set) var endings: [GuardLink.Ending] = []

        func guardLinkOpened(_ link: GuardLink) { self.openedCount += 1 }
        func guardLink(_ link: GuardLink, ended reason: GuardLink.Ending) { self.endings.append(reason) }
        func circuitReady(_ circuit: ClientCircuit) {}
        func circuit(_ circuit: ClientCircuit, closed stream: OnionStream) {}
        func circuit(_ circuit: ClientCircuit, ended error: CircuitError) {}
    }
    final class LinkBox { var link: Link? }

    let recorder = Recorder()
    let linkBox: LinkBox
    let dial: GuardLink.Dial
    let path: [ConsensusRouter]
    let guardLink: GuardLink
    private let eventLoop: any EventLoop

    private init(_ client: TestClient) {
        let (loop, transport, linkBox) = (client.loop, client.transport, LinkBox())
        self.eventLoop = loop
        self.linkBox = linkBox
        self.dial = { address, linkKey, owner in
            transport.dial(address, linkKey: linkKey, on: loop, owner: owner).assumeIsolated().map { link in
                linkBox.link = link.value
                return link
            }.nonisolated()
        }
        self.path = Array(client.consensus.routers.prefix(3))
        self.guardLink = GuardLink(
            router: self.path[0], eventLoop: loop, dial: self.dial, owner: self.recorder)
    }

    /// Make one, and begin to dial.
    static func make(_ client: TestClient) async throws -> NIOLoopBound<GuardFixture> {
        try await client.loop.submit {
            let fixture = GuardFixture(client)
            fixture.guardLink.start(timeLimit: .seconds(30))
            return NIOLoopBound(fixture, eventLoop: client.loop)
        }.get()
    }

    /// Wait until so many links have said that they are open.
    static func untilOpen(_ guarded: NIOLoopBound<GuardFixture>, _ count: Int, _ client: TestClient) async throws {
        while try await client.loop.submit({ guarded.value.recorder.openedCount }).get() < count { await Task.yield() }
    }

    func makeCircuit() -> ClientCircuit {
        ClientCircuit(
            key: CircuitPool.CircuitKey(rawValue: .max), path: self.path,
            settings: ClientCircuit.Settings(NetworkParameters()), padding: PaddingSourceBox(),
            eventLoop: self.eventLoop, owner: self.recorder)
    }
}
