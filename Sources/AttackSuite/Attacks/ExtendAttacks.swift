import HostilePeers
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory

/// What Extend could be abused for: circles, endless paths, connections to places of the client's choice.
enum ExtendAttacks {
    static let all = [
        Self.itself, Self.back, Self.unlisted, Self.loopback, Self.wrongCell, Self.twice, Self.behind,
        Self.relayEarlyBudget, Self.relayEarlyBackward,
    ]

    static func extend(
        to router: ConsensusRouter, identity: Ed25519PublicKey? = nil, create: [UInt8]? = nil
    ) -> HostileCircuit.Message {
        let identity = identity ?? router.identity
        let handshake = CircuitHandshake.Client(identity: identity, onionKey: router.onionKey)
        return .init(.extend, 0, identity.rawBytes + (create ?? handshake.create))
    }

    private static let itself = Attack(
        "cell-extend-itself", tries: "Extend to the OR that reads it", expects: "the circuit is destroyed"
    ) { arena in
        try await Self.ends(along: [arena.routers[0]], Self.extend(to: arena.routers[0]))
    }

    private static let back = Attack(
        "cell-extend-back", tries: "Extend to the hop before", expects: "the circuit is destroyed"
    ) { arena in
        try await Self.ends(along: Array(arena.routers.prefix(2)), Self.extend(to: arena.routers[0]))
    }

    private static let unlisted = Attack(
        "cell-extend-unlisted", tries: "Extend to an identity that is in no consensus",
        expects: "the circuit is destroyed"
    ) { arena in
        try await Self.ends(
            along: [arena.routers[0]],
            Self.extend(to: arena.routers[1], identity: Ed25519PrivateKey().publicKey), seconds: 20)
    }

    private static func ends(
        along path: [ConsensusRouter], _ message: HostileCircuit.Message, seconds: Double = 10
    ) async throws -> Outcome {
        var trials = Trials()
        let circuit = try await HostileCircuit.build(path)
        circuit.send([message], command: .relayEarly)
        // None of them is a request that can be met: an Extended is as bad as silence.
        let (messages, event) = await circuit.end(seconds: seconds)
        await circuit.link.close()
        trials.expect(!messages.contains { $0.command == RelayCommand.extended.rawValue }, "it was extended")
        if case .destroyed = event { trials.add(failure: nil) } else { trials.add(failure: "the circuit lives on") }
        return trials.outcome("the circuit was destroyed")
    }

    private static let loopback = Attack(
        "cell-extend-loopback",
        tries: "Extend with an address on loopback in front of, within and behind what it should hold",
        expects: "the circuit is destroyed, and nobody connects to the address"
    ) { arena in
        try await LoopbackServer.counting { port, tally in
            var trials = Trials()
            let address: [UInt8] = [4, 127, 0, 0, 1, UInt8(port >> 8), UInt8(port & 255)]
            let router = arena.routers[1]
            let genuine = Self.extend(to: router).data
            for data in [
                address + genuine, genuine + address, genuine.prefix(32) + address + genuine.dropFirst(32), address,
            ] {
                let circuit = try await HostileCircuit.build([arena.routers[0]])
                circuit.send([.init(.extend, 0, Array(data))], command: .relayEarly)
                trials.add(failure: await CellAttacks.lives(circuit, "\(data.count) bytes"))
            }
            CellAttacks.undelivered(tally, &trials)
            return trials.outcome("the circuit was destroyed, nobody connected")
        }
    }

    private static let wrongCell = Attack(
        "cell-extend-wrong-cell",
        tries: "Extend in a Relay cell, with another message in the cell, with a broken Create",
        expects: "the circuit is destroyed"
    ) { arena in
        var trials = Trials()
        let (first, second) = (arena.routers[0], arena.routers[1])
        let nonsense = [UInt8](repeating: 9, count: 1900)
        let cells: [([HostileCircuit.Message], CellCommand)] = [
            ([Self.extend(to: second)], .relay), ([Self.extend(to: second), .init(.drop)], .relayEarly),
            ([.init(.drop), Self.extend(to: second)], .relayEarly),
            ([Self.extend(to: second, create: nonsense)], .relayEarly),
            ([Self.extend(to: second, create: [])], .relayEarly),
        ]
        for (messages, command) in cells {
            let circuit = try await HostileCircuit.build([first])
            circuit.send(messages, command: command)
            let (answers, event) = await circuit.end()
            await circuit.link.close()
            trials.expect(!answers.contains { $0.command == RelayCommand.extended.rawValue }, "it was extended")
            if case .destroyed = event { continue }
            trials.add(failure: "the circuit lives on")
        }
        return trials.outcome("the circuit was destroyed")
    }

    private static let twice = Attack(
        "cell-extend-twice", tries: "a second Extend while one is pending, and at a hop that has one behind it",
        expects: "the circuit is destroyed"
    ) { arena in
        var trials = Trials()
        let pending = try await HostileCircuit.build([arena.routers[0]])
        let both =
            pending.seal([Self.extend(to: arena.routers[1])], command: .relayEarly)
            + pending.seal([Self.extend(to: arena.routers[2])], command: .relayEarly)
        pending.link.send(both)
        trials.add(failure: await CellAttacks.lives(pending, "while one is pending"))
        let inner = try await HostileCircuit.build(Array(arena.routers.prefix(2)))
        inner.send([Self.extend(to: arena.routers[2])], to: 0, command: .relayEarly)
        trials.add(failure: await CellAttacks.lives(inner, "at an inner hop"))
        return trials.outcome("the circuit was destroyed")
    }

    private static let behind = Attack(
        "cell-to-inner-hop", tries: "Begin, Data, SendMe, Drop to a hop that has another behind it",
        expects: "the circuit is destroyed, nothing is delivered"
    ) { arena in
        try await LoopbackServer.counting { port, tally in
            var trials = Trials()
            let messages: [HostileCircuit.Message] = [
                .begin(1, port: port), .init(.data, 1, CellAttacks.stolen),
                .init(.sendMe, 0, [UInt8](repeating: 7, count: 16)), .init(.drop), .init(.resolve, 1, [1, 65]),
            ]
            for hop in 0...1 {
                for message in messages {
                    let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(3)))
                    circuit.send([message], to: hop)
                    trials.add(failure: await CellAttacks.lives(circuit, "command \(message.command) to hop \(hop)"))
                }
            }
            CellAttacks.undelivered(tally, &trials)
            return trials.outcome("the circuit was destroyed, nothing was delivered")
        }
    }

    private static let relayEarlyBudget = Attack(
        "cell-relay-early-budget", tries: "the eighth and the ninth RelayEarly cell of a circuit",
        expects: "the eighth passes, the ninth destroys the circuit"
    ) { arena in
        var trials = Trials()
        for hopCount in 1...3 {
            let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(hopCount)))
            for _ in 0..<(8 - (hopCount - 1)) { circuit.send([.init(.drop)], command: .relayEarly) }
            let event = await circuit.next(seconds: 0.3)
            trials.expect(event == .silence, "\(hopCount) hops: eight were too many (\(event))")
            circuit.send([.init(.drop)], command: .relayEarly)
            trials.add(failure: await CellAttacks.lives(circuit, "\(hopCount) hops, the ninth"))
        }
        return trials.outcome("the eighth passed, the ninth ended the circuit")
    }

    private static let relayEarlyBackward = Attack(
        "cell-relay-early-backward",
        tries: "a hostile exit answers with a RelayEarly cell, and with other cells that no OR sends back",
        expects: "the honest hop before it destroys the circuit; nothing of it reaches the client"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        var trials = Trials()
        for command: UInt8 in [0x01, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0xff] {
            hostile.tampers { passage in
                guard passage.direction == .backward, passage.forwardCellCount > 0 else {
                    return [.onward(passage.cell)]
                }
                var cell = passage.cell
                cell[Cell.headerByteCount - 1] = command
                return [.onward(cell)]
            }
            let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(2)) + [hostile.listing])
            circuit.send([.begin(1, port: 80)])
            let (messages, event) = await circuit.end()
            await circuit.link.close()
            trials.expect(
                messages.allSatisfy { $0.command == RelayCommand.truncated.rawValue },
                "command \(command): something came back")
            if case .destroyed = event { continue }
            trials.add(failure: "command \(command): the circuit lives on (\(event))")
        }
        await hostile.stop()
        return trials.outcome("the circuit was destroyed")
    }
}
