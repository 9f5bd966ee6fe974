import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCircuits
import OnionDirectory
import OnionLink
import OnionStreams
import Testing

@testable import OnionClient

@Suite("Client circuit", .timeLimit(.minutes(1)))
struct ClientCircuitTests {
    @Test("streams are held back once so many cells of the circuit wait for the link, and not before")
    func backlog() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let loop = group.next()
        // It says nothing, so the link does not open, and every cell waits.
        let silent = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let port = UInt16(silent.localAddress?.port ?? 0)
        let transport = try LinkTransport(
            credentials: nil, limits: LinkLimits(queuedCellsPerCircuit: 1000, queuedCellsPerLink: 4000),
            netInfo: { _ in .anonymous })
        let path = try (0..<3).map { try TestRouter().listed("router\($0)", port: port) }
        let owner = NIOLoopBoundBox.makeBoxSendingValue(Bystander(), eventLoop: loop)
        let link = try await loop.flatSubmit {
            transport.dial(
                Endpoint(address: .v4(0x7f00_0001), port: port), linkKey: path[0].linkKey, on: loop, owner: owner.value)
        }.get()
        try await loop.submit {
            let (link, settings) = (link.value, ClientCircuit.Settings(NetworkParameters()))
            let circuit = ClientCircuit(
                key: CircuitPool.CircuitKey(rawValue: 1), path: path, settings: settings, padding: PaddingSourceBox(),
                eventLoop: loop, owner: owner.value)
            var ids = CircuitIDAllocator(isDialler: true)
            let allocated = ids.allocate()
            let id = try #require(allocated)
            circuit.begin(on: link, as: id) {}
            let endpoint = CircuitEndpoint(
                role: .client, eventLoop: loop, congestion: settings.congestion, limits: settings.streams,
                padding: PaddingSourceBox(), owner: circuit)
            #expect(link.backlog(of: id) == 1)
            for _ in 1..<ClientCircuit.backlogLimit - 1 {
                link.send(circuit: id, command: .padding, body: EmptyCollection())
            }
            #expect(circuit.endpointHasRoom(endpoint))
            link.send(circuit: id, command: .padding, body: EmptyCollection())
            #expect(link.backlog(of: id) == ClientCircuit.backlogLimit)
            #expect(!circuit.endpointHasRoom(endpoint))
            circuit.close()
            link.close()
        }.get()
        try await silent.close().get()
    }
}

/// Hears of a link and a circuit, and does nothing.
private final class Bystander: LinkOwner, ClientCircuitOwner {
    func linkOpened(_ link: Link) {}
    func link(_ link: Link, received cells: inout CellBatch) {}
    func link(_ link: Link, hasRoomFor circuit: CircuitID) {}
    func link(_ link: Link, overflowed circuit: CircuitID) {}
    func linkClosed(_ link: Link, error: LinkError) {}
    func circuitReady(_ circuit: ClientCircuit) {}
    func circuit(_ circuit: ClientCircuit, closed stream: OnionStream) {}
    func circuit(_ circuit: ClientCircuit, ended error: CircuitError) {}
}
