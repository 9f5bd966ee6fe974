import HostilePeers
import NIOConcurrencyHelpers
import OnionCells
import OnionCrypto
import OnionDirectory

/// What a client may not say inside the onion: messages of the wrong direction, order, stream or length.
enum RelayMessageAttacks {
    static let all = [Self.forbidden, Self.unknownStream, Self.lengths, Self.unknownRelayCommands]

    private typealias Message = HostileCircuit.Message

    private static let forbidden = Attack(
        "cell-forbidden-message",
        tries: "a client says what only an OR says, or what is not its turn to say: each such message",
        expects: "the circuit is destroyed, nothing is delivered"
    ) { arena in
        try await Self.say(arena) { port in
            let tag = [UInt8](repeating: 7, count: 16)
            let extend = arena.routers[1].identity.rawBytes + [1]
            return [
                [.init(.connected, 1, [4, 1, 2, 3, 4, 0, 0, 0, 1])], [.init(.resolved, 1, [3])],
                [.init(.extended, 0, tag)], [.init(.truncated, 0, [0])], [.begin(1, port: port)],
                [.init(.end, 1, [1]), .init(.data, 1, CellAttacks.stolen)],
                [.init(.end, 1, [1]), .init(.end, 1, [1])], [.init(.xOn, 1, [0, 0, 0, 1])],
                [.init(.xOff, 1), .init(.xOff, 1)], [.init(.sendMe, 0, tag)], [.init(.extend, 0, extend)],
                (2...10).map { .begin($0, port: port) },
                (2...10).map { .init(.resolve, $0, [1, 0x61]) },
            ]
        }
    }

    private static let unknownStream = Attack(
        "cell-unknown-stream",
        tries: "Data, End, XOff, XOn for streams that there are not; messages of the circuit with a stream id, of a "
            + "stream without",
        expects: "the circuit is destroyed, nothing is delivered"
    ) { arena in
        try await Self.say(arena) { _ in
            let ofStreams: [RelayCommand] = [.data, .end, .xOff, .xOn]
            let ofCircuits: [RelayCommand] = [.sendMe, .extend, .drop]
            return ofStreams.flatMap { command in
                [2, 77, 65_535].map { [.init(command, $0, Self.data(of: command))] }
                    + [[.init(command, 0, Self.data(of: command))]]
            } + ofCircuits.map { [.init($0, 4, [UInt8](repeating: 7, count: 16))] }
                + [[.init(.begin, 0, [0, 0, 80, 65])], [.init(.resolve, 0, [1, 65])]]
        }
    }

    private static func data(of command: RelayCommand) -> [UInt8] {
        switch command {
        case .data: CellAttacks.stolen
        case .end: [1]
        case .xOn: [0, 0, 0, 1]
        default: []
        }
    }

    private static let unknownRelayCommands = Attack(
        "cell-unknown-relay-command",
        tries: "every relay command that there is not, on stream 0 and on one that is open",
        expects: "the circuit is destroyed"
    ) { arena in
        try await Self.say(arena) { _ in
            (UInt8(14)...UInt8.max).flatMap { command in
                [[.init(raw: command, 0, [])], [.init(raw: command, 1, [1])]]
            }
        }
    }

    private static let lengths = Attack(
        "cell-wrong-length",
        tries: "a length that is too small, too large or past the cell, in every message; a header that does not fit",
        expects: "the circuit is destroyed, nothing is delivered"
    ) { arena in
        let path = Array(arena.routers.prefix(2))
        let name = [UInt8](repeating: 65, count: 256)
        var trials = try await Self.trials(arena) { _ in
            [
                [.init(.begin, 2, [])], [.init(.begin, 2, [0])], [.init(.begin, 2, [0, 0])],
                [.init(.begin, 2, [0, 0, 80])],
                [.init(.begin, 2, [0, 0, 80] + name)], [.init(.begin, 2, [0, 0, 0, 65])],
                [.init(.begin, 2, [2, 0, 80, 65])], [.init(.begin, 2, [1, 0, 80])], [.init(.begin, 2, [1, 0, 0, 65])],
                [.init(.begin, 2, [0, 0, 80, 0xff, 0xfe])], [.init(.begin, 2, [0, 0, 80, 65, 0])],
                [.init(.end, 1, [])], [.init(.end, 1, [1, 1])], [.init(.xOff, 1, [1])],
                [.init(.xOff, 1), .init(.xOn, 1, [])], [.init(.xOff, 1), .init(.xOn, 1, [0, 0, 0])],
                [.init(.xOff, 1), .init(.xOn, 1, [0, 0, 0, 1, 1])], [.init(.sendMe, 0, [])],
                [.init(.sendMe, 0, [UInt8](repeating: 1, count: 15))],
                [.init(.sendMe, 0, [UInt8](repeating: 1, count: 17))], [.init(.resolve, 2, [])],
                [.init(.resolve, 2, [1])], [.init(.resolve, 2, [1] + name)], [.init(.resolve, 2, [2, 4, 1, 2, 3])],
                [.init(.resolve, 2, [2, 4, 1, 2, 3, 4, 5])], [.init(.resolve, 2, [2, 9])],
                [.init(.resolve, 2, [3, 65])],
            ]
        }
        // Lengths of the message header itself; the bytes say more than the cell holds.
        let room = Cell.payloadByteCount - RelayMessageHeader.byteCount
        var payloads: [[UInt8]] = [[3, 0, 1, 0xff, 0xff], [3, 0, 1, UInt8((room + 1) >> 8), UInt8((room + 1) & 255)]]
        for left in 1..<RelayMessageHeader.byteCount {
            // A Drop that leaves room for a part of a header only, and that part.
            let drop = HostileCircuit.encode(.init(.drop, 0, [UInt8](repeating: 0, count: room - left)))
            payloads.append(drop + [RelayCommand.drop.rawValue] + [UInt8](repeating: 0, count: left - 1))
        }
        for payload in payloads {
            let circuit = try await HostileCircuit.build(path)
            circuit.link.send(circuit.seal(payload: payload))
            trials.add(failure: await CellAttacks.lives(circuit, "\(payload.count) bytes of payload"))
        }
        return trials.outcome("the circuit was destroyed, nothing was delivered")
    }

    private static func say(
        _ arena: Arena, _ list: @escaping @Sendable (_ port: UInt16) -> [[Message]]
    ) async throws -> Outcome {
        try await Self.trials(arena, list).outcome("the circuit was destroyed, nothing was delivered")
    }

    /// Say each of the lists on a circuit of two hops that has stream 1 open; each must end it.
    private static func trials(
        _ arena: Arena, _ list: @escaping @Sendable (_ port: UInt16) -> [[Message]]
    ) async throws -> Trials {
        let path = Array(arena.routers.prefix(2))
        return try await LoopbackServer.counting { port, tally in
            let lists = list(port)
            var trials = try await repeatedly(lists.count) { index in
                let circuit = try await HostileCircuit.build(path)
                circuit.send([.begin(1, port: port)])
                guard case .message(_, let message) = await circuit.next(),
                    message.command == RelayCommand.connected.rawValue
                else { throw PeerError.circuitFailed("a Begin is not answered with Connected") }
                circuit.send(lists[index])
                let what = lists[index].map { "command \($0.command) on stream \($0.stream), \($0.data.count) bytes" }
                return await CellAttacks.lives(circuit, what.prefix(2).joined(separator: ", then "))
            }
            trials.expect(tally.withLockedValue { $0.byteCount } == 0, "bytes were delivered")
            return trials
        }
    }
}
