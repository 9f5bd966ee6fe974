import OnionCells
import OnionCrypto
import OnionDirectory
import Testing

@Suite("A listed router that is hostile", .serialized, .timeLimit(.minutes(3)))
struct HostileRouterTests {
    @Test("a Created that no Extended can carry, or another that makes no sense, ends the circuit alone")
    func created() async throws {
        try await AttackedNetwork.run { network in
            let hostile = try await HostileRouter(in: network)
            let honest = try await network.honest()[0]
            let listed = try #require(try await network.consensus().router(hostile.identity.publicKey))
            let tail = CircuitHandshake.createdByteCount - 34
            /// The Created with so many bytes of extension in front of AUTH.
            @Sendable func extended(_ created: [UInt8], by count: Int) -> [UInt8] {
                Array(created[..<tail]) + [UInt8(count >> 8), UInt8(count & 255), 0, 9]
                    + [UInt8((count - 4) >> 8), UInt8((count - 4) & 255)] + [UInt8](repeating: 1, count: count - 4)
                    + Array(created.suffix(32))
            }
            let relay = [UInt8](repeating: 5, count: Cell.bodyByteCount)
            let deeds: [HostileRouter.Deed] = [
                // One byte more than an Extended can carry, and the most that a Created cell can.
                .cells { [(.created, extended($0, by: RelayMessageHeader.maximumDataByteCount + 1 - $0.count))] },
                .cells { [(.created, extended($0, by: Cell.bodyByteCount - $0.count))] },
                .cells { _ in [(.created, [UInt8](repeating: 1, count: Cell.bodyByteCount))] },
                .cells { [(.created, $0 + [1])] },
                .cells { [(.created, $0), (.created, $0)] },
                .cells { [(.created, $0), (.relay, relay)] },
                .cells { [(.created, $0), (.relayEarly, relay)] },
                .cells { _ in [(.relay, relay)] },
                .cells { _ in [(.relayEarly, relay)] },
                .cells { _ in [(.destroy, [6])] },
                .cells { _ in [(.create, relay)] },
                .cells { _ in [(.ping, relay)] },
            ]
            for (index, deed) in deeds.enumerated() {
                hostile.does(deed)
                let circuit = try await HostileCircuit.build([honest])
                let handshake = CircuitHandshake.Client(identity: listed.identity, onionKey: listed.onionKey)
                circuit.send(
                    [.init(.extend, 0, listed.identity.rawBytes + handshake.create)], command: .relayEarly)
                let (messages, event) = await circuit.end()
                guard case .destroyed = event else {
                    Issue.record("deed \(index): the circuit lives on: \(event)")
                    continue
                }
                // The client hears of it from the honest hop alone.
                #expect(messages.allSatisfy { [9, 10].contains($0.command) }, "deed \(index)")
                await circuit.link.close()
            }
            // The largest that an Extended can carry is passed on; it is for the client to refuse.
            hostile.does(.cells { [(.created, extended($0, by: RelayMessageHeader.maximumDataByteCount - $0.count))] })
            let circuit = try await HostileCircuit.build([honest])
            let handshake = CircuitHandshake.Client(identity: listed.identity, onionKey: listed.onionKey)
            circuit.send([.init(.extend, 0, listed.identity.rawBytes + handshake.create)], command: .relayEarly)
            guard case .message(0, let answer) = await circuit.next() else {
                Issue.record("no Extended")
                return
            }
            #expect(answer.data.count == RelayMessageHeader.maximumDataByteCount)
            #expect(throws: HandshakeError.self) { try handshake.complete(created: answer.data) }
            await circuit.link.close()
            await hostile.stop()
        }
    }
}
