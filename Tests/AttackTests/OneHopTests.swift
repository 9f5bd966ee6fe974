import HostilePeers
import NIOCore
import OnionCells
import OnionDirectory
import Testing

@Suite("An exit as a one-hop proxy", .serialized, .timeLimit(.minutes(3)))
struct OneHopTests {
    @Test(
        "Begin and Resolve on a circuit of one hop are refused, unless the network allows it", arguments: [false, true])
    func oneHop(isAllowed: Bool) async throws {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.allowOneHopBegin, to: isAllowed ? 1 : 0)
        try await AttackedNetwork.run(parameters: parameters) { network in
            let circuit = try await HostileCircuit.build([try #require(try await network.target.honest().first)])
            try await LoopbackServer.echoing { port in
                circuit.send([.begin(1, port: port)])
                let begun = try await Self.answer(circuit)
                #expect(begun.command == (isAllowed ? RelayCommand.connected : .end).rawValue)
                if !isAllowed { #expect(begun.data == [EndReason.notAllowed.rawValue]) }
                circuit.send([.init(.resolve, 2, [1] + Array("localhost".utf8))])
                let resolved = try await Self.answer(circuit)
                #expect(resolved.command == RelayCommand.resolved.rawValue)
                #expect(resolved.data.first == (isAllowed ? 0 : EndReason.notAllowed.rawValue))
            }
            await circuit.link.close()
        }
    }

    private struct NoAnswer: Error {
        var event: HostileCircuit.Event
    }

    private static func answer(_ circuit: HostileCircuit) async throws -> HostileCircuit.Message {
        let event = await circuit.next()
        guard case .message(0, let message) = event else { throw NoAnswer(event: event) }
        return message
    }
}
