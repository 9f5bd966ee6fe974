import HostilePeers
import NIOConcurrencyHelpers
import OnionCells
import OnionCrypto
import OnionDirectory

/// What an OR can do to the cells on their way back to a real client: a thor-proxy whose circuits all go over three
/// routers, one of them hostile.
enum BackwardAttacks {
    static let all =
        CellAttacks.Position.allCases.map(Self.flipped) + [Self.tampered, Self.spoken] + ExitMessageAttacks.all
        + [Self.besideCircuits]

    private typealias Position = CellAttacks.Position

    /// The bytes that the destination echoes, and that the user sends.
    private static let request = Array("bytes on their way back".utf8)
    /// Of the bits behind the tag each so-many-th is flipped: each trial costs a circuit of the proxy's. Odd, so that each
    /// place in a byte has its turn.
    private static let payloadStride = 321

    /// For hundreds of the proxy's circuits, one after the other.
    static let timeLimit = Duration.seconds(240)

    private static func flipped(by position: CellAttacks.Position) -> Attack {
        Attack(
            "cell-flipped-bit-backward-\(position.rawValue)",
            tries: "a hostile OR as \(position.rawValue) flips a bit of a cell on its way back: all of header, tag and "
                + "message header, each \(Self.payloadStride)st of those behind",
            expects: "thor-proxy ends the circuit; its user gets no byte", needsDaemons: true,
            timeLimit: Self.timeLimit
        ) { arena in
            try await Self.with(arena, position) { hostile, bait, port in
                let flips = CellAttacks.flips(payloadStride: Self.payloadStride)
                var trials = Trials()
                for (index, flip) in flips.enumerated() {
                    let failure = try await Self.trial("flip-\(index)", hostile, bait, port, repeats: flip.isOfID) {
                        cell, _ in
                        var cell = cell
                        flip.apply(to: &cell)
                        return [.onward(cell)]
                    }
                    trials.add(failure: failure.map { "byte \(flip.byte), mask \(flip.mask): \($0)" })
                }
                return trials
            }
        }
    }

    private static let tampered = Attack(
        "cell-tampered-backward",
        tries: "a hostile guard, middle or exit sends cells back to the client twice, in another order, not at all, or "
            + "forward again",
        expects:
            "thor-proxy ends the circuit, or the exit that got a cell again; the user gets nothing that was not sent, "
            + "and nothing twice",
        needsDaemons: true
    ) { arena in
        var trials = Trials()
        for position in CellAttacks.Position.allCases {
            let outcome = try await Self.with(arena, position) { hostile, bait, port in
                var trials = Trials()
                for (name, act) in CellAttacks.acts {
                    // The exit's cells come from nowhere.
                    if name == "reflected", position == .exit { continue }
                    let failure = try await Self.trial(
                        name, hostile, bait, port, repeats: name != "replayed", mayDeliver: name == "replayed",
                        endsBehind: name == "reflected", act)
                    trials.add(failure: failure.map { "\(name) by the \(position.rawValue): \($0)" })
                }
                return trials
            }
            trials.expect(outcome.verdict == .held, outcome.observed)
        }
        return trials.outcome("hostile guard, middle and exit: the circuit ended, the user got nothing wrong")
    }

    private static let spoken = Attack(
        "cell-spoken-by-inner-hop",
        tries:
            "a hostile guard or middle says Data, Connected, End, XOff, SendMe on a client's stream, behind a cell of "
            + "the exit's",
        expects: "thor-proxy ends the circuit; its user gets no byte but the exit's", needsDaemons: true
    ) { arena in
        let messages: [HostileCircuit.Message] = [
            .init(.data, 1, CellAttacks.stolen), .init(.connected, 1, [4, 1, 2, 3, 4, 0, 0, 0, 1]),
            .init(.end, 1, [1]), .init(.xOff, 1), .init(.sendMe, 0, [UInt8](repeating: 7, count: 16)), .init(.drop),
            .init(.extended, 0, [UInt8](repeating: 7, count: CircuitHandshake.createdByteCount)),
        ]
        var trials = Trials()
        for position in [Position.guard, .middle] {
            let outcome = try await Self.with(arena, position) { hostile, bait, port in
                var trials = Trials()
                for message in messages {
                    let failure = try await Self.trial(
                        "speak-\(message.command)", hostile, bait, port, repeats: false, mayDeliver: true
                            // The cell itself goes on: were it missing, what follows would be noise, and no rule asked.
                    ) { cell, _ in [.onward(cell), .speak([message])] }
                    trials.add(
                        failure: failure.map { "command \(message.command) by the \(position.rawValue): \($0)" })
                }
                return trials
            }
            trials.expect(outcome.verdict == .held, outcome.observed)
        }
        return trials.outcome("the circuit ended, nothing of it was delivered")
    }

    private static let besideCircuits = Attack(
        "cell-beside-circuits-by-guard",
        tries:
            "a hostile guard, on its link with a client: a Create in either half of the ids, relay cells, Created and "
            + "Destroy for circuits that there are not",
        expects: "thor-proxy answers none of them; the link lives, and so do its circuits", needsDaemons: true
    ) { arena in
        let observed = "nothing was answered, the circuit beside them lives"
        return try await Self.with(arena, .guard, observed: observed) { hostile, bait, port in
            let connection = try await bait.user.open(port: port, name: "beside")
            guard let circuit = hostile.tally.newestStreamCircuit else { throw PeerError.circuitFailed("none is used") }
            let ids: [UInt32] = [0x0765_0000, 0x8765_0000].flatMap { first in (0..<200).map { first + $0 } }
            let commands: [CellCommand] = [.create, .relay, .relayEarly, .created, .destroy]
            let cells = ids.flatMap { id in
                commands.map { HostileLink.cell(id, $0.rawValue, SecureRandom.bytes(Cell.bodyByteCount)) }
            }
            try await hostile.send(cells, beside: circuit)
            connection.send(Self.request)
            try? await Wait.until("the echo") { connection.received == Self.request || connection.isClosed }
            var trials = Trials()
            trials.expect(connection.received == Self.request, "the circuit beside them ended")
            trials.expect(!hostile.tally.endedCircuits.contains(circuit), "the proxy has ended it")
            await connection.close()
            let strays = hostile.tally.strays
            for id in ids {
                let answer = strays[id]
                trials.expect(answer == nil, "circuit \(id) was answered with command \(answer ?? 0)")
            }
            return trials
        }
    }

    /// A hostile OR in its place, a proxy whose circuits go over it, and a destination that echoes; in the end the proxy
    /// must still serve, and be the same process.
    static func with(
        _ arena: Arena, _ position: CellAttacks.Position,
        observed: @autoclosure () -> String = "the circuit ended, the user got no byte",
        _ body: (HostileRouter, Bait, _ port: UInt16) async throws -> Trials
    ) async throws -> Outcome {
        let policy = try ExitPolicy(parsing: position == .exit ? ["accept 127.0.0.0/8:*"] : ["reject *:*"])
        return try await Bait.with(arena, hostileAt: position, exitPolicy: policy) { bait, hostile in
            try await bait.user.checkService()
            let trials = try await LoopbackServer.echoing { port in try await body(hostile, bait, port) }
            hostile.tampers(nil)
            hostile.answers(nil)
            // The control: untouched, cells do come through.
            try await bait.user.checkService()
            return trials.outcome(observed())
        }
    }

    /// Open a stream, and do `act` to the cells that come back on it from then on; nil if all is as it should be.
    ///
    /// - Parameters:
    ///   - repeats: whether a second request follows: what was dropped shows only then.
    ///   - mayDeliver: whether the first answer reaches the user.
    ///   - endsBehind: whether the exit ends the circuit, and not the proxy.
    private static func trial(
        _ name: String, _ hostile: HostileRouter, _ bait: Bait, _ port: UInt16, repeats: Bool,
        mayDeliver: Bool = false, endsBehind: Bool = false, _ act: @escaping CellAttacks.Act
    ) async throws -> String? {
        hostile.tampers(nil)
        let connection = try await bait.user.open(port: port, name: name)
        let held = NIOLockedValueBox<[UInt8]?>(nil)
        let isDone = NIOLockedValueBox(false)
        // The proxy has other circuits: it asks its directory over one, now and then.
        guard let circuit = hostile.tally.newestStreamCircuit else { return "no circuit is used" }
        hostile.tampers { passage in
            guard passage.direction == .backward, passage.circuit == circuit else { return [.onward(passage.cell)] }
            // Once, or for two cells where the act needs two.
            let isOver = isDone.withLockedValue { $0 }
            let acts = isOver ? [.onward(passage.cell)] : act(passage.cell, held)
            isDone.withLockedValue { $0 = held.withLockedValue { $0 == nil } }
            return acts
        }
        connection.send(Self.request)
        if repeats {
            try? await Wait.until("the first cell is tampered with", seconds: 1) {
                isDone.withLockedValue { $0 } || held.withLockedValue { $0 != nil }
            }
            connection.send(Self.request)
        }
        let hasEnded = {
            (endsBehind ? hostile.tally.circuitsEndedBehind : hostile.tally.endedCircuits).contains(circuit)
        }
        try? await Wait.until("stream and circuit end", seconds: 10) { connection.isClosed && hasEnded() }
        let (received, isClosed) = (connection.received, connection.isClosed)
        await connection.close()
        guard isClosed else { return "the stream lives on, and \(received.count) bytes were delivered" }
        let allowed = mayDeliver ? [[], Self.request] : [[]]
        guard allowed.contains(received) else { return "\(received.count) bytes were delivered" }
        return hasEnded() ? nil : "the stream ended, and the circuit lives on"
    }
}
