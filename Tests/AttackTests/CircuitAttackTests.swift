import NIOConcurrencyHelpers
import NIOCore
import OnionCells
import OnionCrypto
import OnionDirectory
import Testing

@Suite("Attacks with circuit cells", .serialized, .timeLimit(.minutes(3)))
struct CircuitAttackTests {
    @Test("a changed, replayed, reordered or missing cell ends the circuit, and nothing of it is delivered")
    func tampering() async throws {
        try await AttackedNetwork.run { network in
            let routers = try await network.honest()
            try await LoopbackServer.counting { port, received in
                for hopCount in 1...3 {
                    // The tag, its end, the command, the length, the data, the padding, the last bit.
                    for offset in [0, 15, 16, 19, 22, 900, Cell.bodyByteCount - 1] {
                        let circuit = try await Self.streaming(routers.prefix(hopCount), port)
                        var cell = circuit.seal([.init(.data, 1, Array("stolen".utf8))])
                        cell[Cell.headerByteCount + offset] ^= 1
                        circuit.link.send(cell)
                        await Self.expectEnd(of: circuit)
                    }
                    let replayed = try await Self.streaming(routers.prefix(hopCount), port)
                    let once = replayed.seal([.init(.drop)])
                    replayed.link.send(once + once)
                    await Self.expectEnd(of: replayed)

                    let reordered = try await Self.streaming(routers.prefix(hopCount), port)
                    let (one, two) = (reordered.seal([.init(.drop)]), reordered.seal([.init(.data, 1, [1])]))
                    reordered.link.send(two + one)
                    await Self.expectEnd(of: reordered)

                    let missing = try await Self.streaming(routers.prefix(hopCount), port)
                    _ = missing.seal([.init(.drop)])
                    missing.send([.init(.data, 1, [1])])
                    await Self.expectEnd(of: missing)

                    // The command is under the tag as well.
                    let renamed = try await Self.streaming(routers.prefix(hopCount), port)
                    var early = renamed.seal([.init(.data, 1, [1])])
                    early[4] = CellCommand.relayEarly.rawValue
                    renamed.link.send(early)
                    await Self.expectEnd(of: renamed)
                }
                #expect(received.withLockedValue { $0 } == 0)
            }
        }
    }

    @Test("messages that may not be said end the circuit")
    func forbiddenMessages() async throws {
        try await AttackedNetwork.run { network in
            let routers = try await network.honest()
            try await LoopbackServer.counting { port, received in
                let tag = [UInt8](repeating: 7, count: 16)
                let forbidden: [[HostileCircuit.Message]] = [
                    [.init(.sendMe, 0, tag)],
                    [.init(.sendMe, 0, [])],
                    [.init(.xOn, 1, [0, 0, 0, 1])],
                    [.init(.xOff, 1), .init(.xOff, 1)],
                    [.init(.xOff, 1, [1])],
                    [.init(.connected, 1, [4, 1, 2, 3, 4, 0, 0, 0, 1])],
                    [.init(.resolved, 1, [3])],
                    [.init(.extended, 0, tag)],
                    [.init(.truncated, 0, [0])],
                    [.init(raw: 14, 0, [])],
                    [.init(raw: 255, 9, [])],
                    [.init(.begin, 0, [0, 0, 80, 65])],
                    [.init(.drop, 4)],
                    [.init(.data, 77, [1])],
                    [.begin(1, port: port)],
                    [.init(.end, 1, [1]), .init(.data, 1, [1])],
                    [.init(.end, 1, [1]), .init(.end, 1, [1])],
                    [.init(.end, 1, [])],
                    [.init(.begin, 2, [2, 0, 80, 65])],
                    [.init(.begin, 2, [1, 0, 80])],
                    [.init(.begin, 2, [0, 0, 0, 65])],
                    [.init(.begin, 2, [0, 0, 80])],
                    [.init(.begin, 2, [0, 0, 80, 0xff, 0xfe])],
                    [.init(.begin, 2, [0, 0, 80] + [UInt8](repeating: 65, count: 256))],
                    [.init(.resolve, 2, [3, 65])],
                    [.init(.resolve, 2, [2, 9])],
                    [.init(.extend, 0, routers[1].identity.rawBytes + [1])],
                    (2...10).map { .init(.begin, $0, [0, 0, 80, 65]) },
                ]
                for messages in forbidden {
                    let circuit = try await Self.streaming([routers[0], routers[2]], port)
                    circuit.send(messages)
                    await Self.expectEnd(of: circuit, "\(messages.map(\.command))")
                }
                // A length past the cell, and a header that does not fit.
                for payload in [[3, 0, 1, 0xff, 0xff], [UInt8](repeating: 0, count: 0) + Self.headerAtTheEnd] {
                    let circuit = try await Self.streaming([routers[0], routers[2]], port)
                    circuit.link.send(circuit.seal(payload: payload))
                    await Self.expectEnd(of: circuit)
                }
                #expect(received.withLockedValue { $0 } == 0)
            }
        }
    }

    /// Drops up to the last two bytes, and there a command.
    private static var headerAtTheEnd: [UInt8] {
        let count = Cell.payloadByteCount - 2 - RelayMessageHeader.byteCount
        return HostileCircuit.encode(.init(.drop, 0, [UInt8](repeating: 0, count: count))) + [13]
    }

    @Test("only the last hop may be spoken to, and Extend keeps its rules")
    func extending() async throws {
        try await AttackedNetwork.run { network in
            let routers = try await network.honest()
            func extend(_ identity: Ed25519PublicKey, _ create: [UInt8]? = nil) -> HostileCircuit.Message {
                let known = routers.first { $0.identity == identity } ?? routers[1]
                let handshake = CircuitHandshake.Client(identity: identity, onionKey: known.onionKey)
                return .init(.extend, 0, identity.rawBytes + (create ?? handshake.create))
            }
            // To itself, in a Relay cell, with company, to the hop before, to nobody.
            let toSelf = try await HostileCircuit.build([routers[0]])
            toSelf.send([extend(routers[0].identity)], command: .relayEarly)
            await Self.expectEnd(of: toSelf)
            let inRelay = try await HostileCircuit.build([routers[0]])
            inRelay.send([extend(routers[1].identity)])
            await Self.expectEnd(of: inRelay)
            let inCompany = try await HostileCircuit.build([routers[0]])
            inCompany.send([extend(routers[1].identity), .init(.drop)], command: .relayEarly)
            await Self.expectEnd(of: inCompany)
            let back = try await HostileCircuit.build([routers[0], routers[1]])
            back.send([extend(routers[0].identity)], command: .relayEarly)
            await Self.expectEnd(of: back)
            let unknown = try await HostileCircuit.build([routers[0]])
            unknown.send([extend(Ed25519PrivateKey().publicKey)], command: .relayEarly)
            await Self.expectEnd(of: unknown)
            let nonsense = try await HostileCircuit.build([routers[0]])
            nonsense.send([extend(routers[1].identity, [UInt8](repeating: 9, count: 1900))], command: .relayEarly)
            await Self.expectEnd(of: nonsense)
            // Twice at once, and at a hop that has one behind it.
            let twice = try await HostileCircuit.build([routers[0]])
            let both =
                twice.seal([extend(routers[1].identity)], command: .relayEarly)
                + twice.seal([extend(routers[2].identity)], command: .relayEarly)
            twice.link.send(both)
            await Self.expectEnd(of: twice)
            for message in [extend(routers[2].identity), .init(.drop), .init(.data, 1, [1])] {
                let inner = try await HostileCircuit.build([routers[0], routers[1]])
                inner.send([message], to: 0, command: .relayEarly)
                await Self.expectEnd(of: inner)
            }
            // The ninth RelayEarly; two were spent on building.
            let early = try await HostileCircuit.build(routers)
            for _ in 0..<6 { early.send([.init(.drop)], command: .relayEarly) }
            #expect(await early.next(seconds: 0.3) == .silence)
            early.send([.init(.drop)], command: .relayEarly)
            await Self.expectEnd(of: early)
        }
    }

    @Test("cells that break a rule of the link end their circuit, or the link")
    func linkRules() async throws {
        try await AttackedNetwork.run { network in
            let routers = try await network.honest()
            let router = routers[0]
            let good = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey).create
            let create = CellCommand.create.rawValue

            let link = try await HostileLink.dial(router)
            var stranger = good
            stranger[5] ^= 1
            var otherKey = good
            otherKey[40] ^= 1
            var badType = good
            badType[1] = 2
            let bad: [(UInt32, [UInt8])] = [
                (0x0000_0001, good), (0x8000_0002, stranger), (0x8000_0003, otherKey), (0x8000_0004, badType),
                (0x8000_0005, good + [1]), (0x8000_0006, Array(good.dropLast(2)) + [0xff, 0xff]), (0x8000_0007, []),
                (0x8000_0008, Array(good.dropLast(2)) + [0, 3, 1, 1, 1]),
            ]
            for (id, body) in bad {
                link.send(id, create, body)
                #expect(await link.next(of: id)?[4] == CellCommand.destroy.rawValue, "Create \(id)")
            }
            // An id is used once, whatever became of it.
            let first = try await HostileCircuit.build([router], on: link, id: 0x8000_0010)
            first.link.send(first.id, CellCommand.destroy.rawValue, [])
            link.send(first.id, create, good)
            #expect(await link.next(of: first.id)?[4] == CellCommand.destroy.rawValue)
            let second = try await HostileCircuit.build([router], on: link, id: 0x8000_0011)
            link.send(second.id, create, good)
            await Self.expectEnd(of: second)
            // What a client never says on a circuit.
            for (index, command) in [2, 6, 7, 8, 9, 77, 255].enumerated() {
                let circuit = try await HostileCircuit.build([router], on: link, id: 0x8000_0020 + UInt32(index))
                link.send(circuit.id, UInt8(command), [])
                await Self.expectEnd(of: circuit, "command \(command)")
            }
            // Cells of no circuit are dropped.
            link.send(0x8123_4567, CellCommand.relay.rawValue, [1, 2, 3])
            _ = try await HostileCircuit.build([router], on: link, id: 0x8000_0040)
            #expect(!link.isClosed)
            await link.close()

            // On circuit 0 there is no circuit, and NetInfo comes first, and once.
            for command: UInt8 in [1, 2, 3, 4, 5, 6, 9, 255] {
                let link = try await HostileLink.dial(router)
                link.send(0, command, [])
                try await Wait.until("the link is closed for command \(command)") { link.isClosed }
            }
            for command: UInt8 in [0, 1, 7, 8] {
                let silent = try await HostileLink.dial(router, manners: .init(saysNetInfo: false))
                silent.send(command == 1 ? 0x8000_0001 : 0, command, command == 1 ? good : [])
                try await Wait.until("the link is closed before NetInfo") { silent.isClosed }
            }
            let nonsense = try await HostileLink.dial(router, manners: .init(saysNetInfo: false))
            nonsense.send(0, CellCommand.netInfo.rawValue, [0, 0, 0, 0, 0, 0, 0, 0, 9])
            try await Wait.until("the link is closed for a bad NetInfo") { nonsense.isClosed }
        }
    }

    /// A circuit along `path` with stream 1 to `port` connected.
    private static func streaming(_ path: some Collection<ConsensusRouter>, _ port: UInt16) async throws
        -> HostileCircuit
    {
        let circuit = try await HostileCircuit.build(Array(path))
        circuit.send([.begin(1, port: port)])
        guard case .message(_, let message) = await circuit.next() else { throw HostileCircuit.CircuitFailed() }
        #expect(message.command == RelayCommand.connected.rawValue)
        return circuit
    }

    private static func expectEnd(of circuit: HostileCircuit, _ what: String = "") async {
        let (_, event) = await circuit.end()
        guard case .destroyed = event else {
            Issue.record("the circuit lives on: \(event) \(what)")
            return
        }
    }
}
