import HostilePeers
import NIOCore
import OnionCells
import OnionCrypto
import OnionDirectory

/// Cells for circuits that there are not, and cells that are none of a circuit's.
enum LinkCellAttacks {
    static let all = [
        Self.unknownCircuit, Self.wrongIDHalf, Self.byDialled, Self.usedID, Self.unknownCommands, Self.linkRules,
    ]

    private static let unknownCircuit = Attack(
        "cell-unknown-circuit", tries: "relay cells, Created and Destroy for circuits that there are not",
        expects: "they are dropped without an answer; the link lives, and so do its circuits"
    ) { arena in
        let router = arena.routers[0]
        let link = try await HostileLink.dial(router)
        var trials = Trials()
        for index in UInt32(0)..<200 {
            let id = 0x8765_0000 + index
            for command: CellCommand in [.relay, .relayEarly, .created, .destroy] {
                link.send(id, command.rawValue, SecureRandom.bytes(Cell.bodyByteCount))
            }
        }
        let circuit = try await HostileCircuit.build([router], on: link)
        trials.expect(!link.isClosed, "the link was closed")
        for index in UInt32(0)..<200 {
            let answer = await link.next(of: 0x8765_0000 + index, seconds: 0)
            trials.expect(answer == nil, "circuit \(index) was answered")
        }
        circuit.send([.init(.drop)])
        trials.expect(await circuit.next(seconds: 0.2) == .silence, "the circuit beside them ended")
        await link.close()
        return trials.outcome("nothing was answered, the circuit beside them lives")
    }

    private static let wrongIDHalf = Attack(
        "cell-wrong-id-half",
        tries: "the dialler of a link creates circuits in the half of the ids that is not its own",
        expects: "each is refused with a Destroy"
    ) { arena in
        let router = arena.routers[0]
        let link = try await HostileLink.dial(router)
        var trials = Trials()
        for id: UInt32 in [1, 2, 0x7fff_ffff] {
            let handshake = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
            link.send(id, CellCommand.create.rawValue, handshake.create)
            let answer = await link.next(of: id)
            trials.expect(answer?[4] == CellCommand.destroy.rawValue, "circuit \(id) was answered otherwise")
        }
        await link.close()
        return trials.outcome("refused")
    }

    private static let byDialled = Attack(
        "cell-beside-circuits-by-dialled",
        tries:
            "a hostile OR, on a link that an honest one has dialled: a Create in the dialler's half of the ids, relay "
            + "cells, Created and Destroy for circuits that there are not",
        expects: "the Create is refused with a Destroy, the others are dropped; the link lives, and so do its circuits"
    ) { arena in
        let router = arena.routers[0]
        let hostile = try await HostileRouter(in: arena.network)
        let circuit = try await HostileCircuit.build([router, hostile.listing])
        let echoed = HostileCircuit.Message(.data, 1, CellAttacks.stolen)
        circuit.send([echoed])
        var trials = Trials()
        trials.expect(await circuit.next() == .message(hop: 1, echoed), "no echo before")
        guard let number = hostile.tally.newestStreamCircuit else { throw PeerError.circuitFailed("none is used") }
        let create = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey).create
        let (wrong, right): (UInt32, UInt32) = (0x8765_ffff, 0x0765_ffff)
        let ids: [UInt32] = [0x0765_0000, 0x8765_0000].flatMap { first in (0..<200).map { first + $0 } }
        let commands: [CellCommand] = [.relay, .relayEarly, .created, .destroy]
        let unknown = ids.flatMap { id in
            commands.map { HostileLink.cell(id, $0.rawValue, SecureRandom.bytes(Cell.bodyByteCount)) }
        }
        let creates = [wrong, right].map { HostileLink.cell($0, CellCommand.create.rawValue, create) }
        try await hostile.send(unknown + creates, beside: number)
        try? await Wait.until("both Creates are answered") {
            hostile.tally.strays[wrong] != nil && hostile.tally.strays[right] != nil
        }
        circuit.send([echoed])
        trials.expect(await circuit.next() == .message(hop: 1, echoed), "the circuit beside them ended")
        let strays = hostile.tally.strays
        trials.expect(strays[wrong] == CellCommand.destroy.rawValue, "the dialler's half was not refused")
        // The control: in its own half it may create circuits, as whoever dialled.
        trials.expect(strays[right] == CellCommand.created.rawValue, "a Create in its own half was not answered")
        for id in ids { trials.expect(strays[id] == nil, "circuit \(id) was answered") }
        await circuit.link.close()
        await hostile.stop()
        return trials.outcome("refused or dropped, the circuit beside them lives")
    }

    private static let usedID = Attack(
        "cell-used-id", tries: "a Create with the id of a circuit that there is, and of one that there was",
        expects: "the one that there is is destroyed; neither is made anew"
    ) { arena in
        let router = arena.routers[0]
        let link = try await HostileLink.dial(router)
        let create = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey).create
        var trials = Trials()
        let gone = try await HostileCircuit.build([router], on: link, id: 0x8000_0010)
        link.send(gone.id, CellCommand.destroy.rawValue, [])
        link.send(gone.id, CellCommand.create.rawValue, create)
        let answer = await link.next(of: gone.id)
        trials.expect(answer?[4] == CellCommand.destroy.rawValue, "an id that was used served again")
        let present = try await HostileCircuit.build([router], on: link, id: 0x8000_0011)
        link.send(present.id, CellCommand.create.rawValue, create)
        trials.add(failure: await CellAttacks.lives(present, "an id in use"))
        await link.close()
        return trials.outcome("refused")
    }

    /// What a client may say on a circuit that there is.
    private static let clientCommands: [CellCommand] = [.padding, .relay, .relayEarly, .destroy]

    private static let unknownCommands = Attack(
        "cell-unknown-command",
        tries: "on a circuit, each command that is none of a client's there: \(256 - Self.clientCommands.count) of 256",
        expects: "the circuit is destroyed"
    ) { arena in
        let router = arena.routers[0]
        let commands = (UInt8.min...UInt8.max).filter { command in
            !Self.clientCommands.contains { $0.rawValue == command }
        }
        return try await repeatedly(commands.count) { index in
            let circuit = try await HostileCircuit.build([router])
            circuit.link.send(circuit.id, commands[index], [])
            return await CellAttacks.lives(circuit, "command \(commands[index])")
        }.outcome("the circuit was destroyed")
    }

    private static let linkRules = Attack(
        "cell-link-rules",
        tries: "cells of circuits on circuit 0, two NetInfo, none, a broken one, cells before it",
        expects: "the link is closed"
    ) { arena in
        let router = arena.routers[0]
        let create = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey).create
        var trials = Trials()
        for command: UInt8 in [1, 2, 3, 4, 5, 6, 9, 255] {
            let link = try await HostileLink.dial(router)
            link.send(0, command, [])
            trials.add(failure: await Self.isOpen(link, "command \(command) on circuit 0"))
        }
        for command: UInt8 in [0, 1, 7, 8] {
            let link = try await HostileLink.dial(router, manners: .init(saysNetInfo: false))
            link.send(command == 1 ? 0x8000_0001 : 0, command, command == 1 ? create : [])
            trials.add(failure: await Self.isOpen(link, "command \(command) before NetInfo"))
        }
        for body: [UInt8] in [[0, 0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 0, 0, 0, 0, 0, 255]] {
            let link = try await HostileLink.dial(router, manners: .init(saysNetInfo: false))
            link.send(0, CellCommand.netInfo.rawValue, body)
            trials.add(failure: await Self.isOpen(link, "a broken NetInfo"))
        }
        return trials.outcome("the link was closed")
    }

    private static func isOpen(_ link: HostileLink, _ what: String) async -> String? {
        try? await Wait.until("the link is closed") { link.isClosed }
        defer { link.channel.close(promise: nil) }
        return link.isClosed ? nil : "\(what): the link is open"
    }
}
