import HostilePeers
import NIOConcurrencyHelpers
import OnionCells
import OnionCrypto
import OnionDirectory

/// Attacks with the cells of circuits: what a client, or an OR on the way, may do to them. What ORs do to the cells of
/// a real client is in ``BackwardAttacks``; what breaks the rules of a link in ``LinkCellAttacks``; what Extend could be abused for in ``ExtendAttacks``; windows and storms in
/// ``WindowAttacks``.
enum CellAttacks {
    static let all: [Attack] =
        [Self.flippedByClient]
        + [Position.guard, .middle].map(Self.flipped)
        + BackwardAttacks.all
        + [
            Self.replayed, Self.reordered, Self.dropped, Self.renamed, Self.tamperedOnTheWay,
        ] + LinkCellAttacks.all + RelayMessageAttacks.all + ExtendAttacks.all + WindowAttacks.all

    /// Where on a path of three an OR is hostile.
    enum Position: String, CaseIterable {
        case `guard`, middle, exit

        var index: Int {
            switch self {
            case .guard: 0
            case .middle: 1
            case .exit: 2
            }
        }

        /// Guard, middle and exit with `router` in this place, and honest ones in the others.
        func path(_ router: ConsensusRouter, among honest: [ConsensusRouter]) -> [ConsensusRouter] {
            var path = Array(honest.prefix(2))
            path.insert(router, at: self.index)
            return path
        }
    }

    /// One bit of a cell.
    struct Flip: Sendable {
        let byte: Int
        let mask: UInt8

        /// Whether the cell then names another circuit.
        var isOfID: Bool { self.byte < 4 }
        /// Whether what changes is under the cipher, so that nobody can tell before the last hop.
        var isOfBody: Bool { self.byte >= Cell.headerByteCount }

        func apply(to cell: inout [UInt8]) { cell[self.byte] ^= self.mask }
    }

    /// Every bit of header, tag and message header, and of those behind them each `payloadStride`-th.
    static func flips(payloadStride: Int) -> [Flip] {
        let start = 8 * (Cell.headerByteCount + Cell.tagByteCount + RelayMessageHeader.byteCount)
        let bits = Array(0..<start) + Array(stride(from: start, to: 8 * Cell.byteCount, by: payloadStride))
        return bits.map { Flip(byte: $0 / 8, mask: 1 << ($0 % 8)) }
    }

    /// What an OR on the way does to a cell is, for whoever is behind it, what a client could have done to it, and costs twice as
    /// much to play: of the bits behind the tag it flips each so-many-th. Odd, so that each place in a byte has its turn.
    private static let onTheWayStride = 5

    /// For thousands of circuits of three handshakes each, on a machine that may be slow.
    private static let everyBitTimeLimit = Duration.seconds(600)

    /// Circuits that share a link when every bit is tried: a TLS handshake for each would take longer than all else.
    private static let circuitsPerLink = 128

    /// Play a trial over a circuit of its own, `count` times, on links to `router`.
    private static func onSharedLinks(
        _ count: Int, to router: ConsensusRouter,
        _ play: @escaping @Sendable (_ index: Int, _ link: HostileLink, _ id: UInt32) async throws -> String?
    ) async throws -> Trials {
        var trials = Trials()
        for start in stride(from: 0, to: count, by: Self.circuitsPerLink) {
            let link = try await HostileLink.dial(router)
            let done = try await repeatedly(min(count - start, Self.circuitsPerLink), width: 16) { index in
                try await play(start + index, link, 0x8000_0001 + UInt32(index))
            }
            await link.close()
            trials.add(done)
        }
        return trials
    }

    static let stolen = Array("not to be delivered".utf8)

    /// A stream's beginning and its first bytes in one cell: what must not be delivered.
    static func delivery(to port: UInt16) -> [HostileCircuit.Message] {
        [.begin(1, port: port), .init(.data, 1, Self.stolen)]
    }

    /// See that a cell that nobody touches is delivered: else an attack would hold for nothing.
    static func checkDelivery(along path: [ConsensusRouter]) async throws {
        try await LoopbackServer.counting { port, tally in
            let circuit = try await HostileCircuit.build(path)
            circuit.send(Self.delivery(to: port))
            try await Wait.until("an honest cell is delivered") {
                tally.withLockedValue { $0.byteCount } == Self.stolen.count
            }
            await circuit.link.close()
        }
    }

    /// Wait for the circuit's end; nil if it came.
    static func lives(_ circuit: HostileCircuit, _ what: String, seconds: Double = 10) async -> String? {
        let (_, event) = await circuit.end(seconds: seconds)
        await circuit.link.close()
        if case .destroyed = event { return nil }
        return "\(what): the circuit lives on (\(event))"
    }

    static func undelivered(_ tally: NIOLockedValueBox<LoopbackServer.Tally>, _ trials: inout Trials) {
        let seen = tally.withLockedValue { $0 }
        trials.expect(
            seen.byteCount == 0 && seen.connectionCount == 0,
            "\(seen.byteCount) bytes were delivered over \(seen.connectionCount) connections")
    }

    // Flipped bits.

    private static let flippedByClient = Attack(
        "cell-flipped-bit-client",
        tries: "a client flips a bit of a cell before it reaches the guard: each of its 16,384",
        expects: "the last hop destroys the circuit, and connects to nobody", timeLimit: Self.everyBitTimeLimit
    ) { arena in
        let path = Array(arena.routers.prefix(3))
        try await Self.checkDelivery(along: path)
        let flips = Self.flips(payloadStride: arena.payloadStride)
        // What is wrong with a header may be the end of the link.
        let (ofHeader, ofBody) = (flips.filter { !$0.isOfBody }, flips.filter(\.isOfBody))
        return try await LoopbackServer.counting { port, tally in
            @Sendable func judge(_ flip: Flip, _ circuit: HostileCircuit) async -> String? {
                var cell = circuit.seal(Self.delivery(to: port))
                flip.apply(to: &cell)
                circuit.link.send(cell)
                // A cell of another circuit is dropped; the next one finds that it is missing.
                if flip.isOfID { circuit.send([.init(.drop)]) }
                return await Self.judgeFlip(flip, circuit, truncatedBy: path.count - 2)
            }
            var trials = try await repeatedly(ofHeader.count) { index in
                let circuit = try await HostileCircuit.build(path)
                let failure = await judge(ofHeader[index], circuit)
                await circuit.link.close()
                return failure
            }
            trials.add(
                try await Self.onSharedLinks(ofBody.count, to: path[0]) { index, link, id in
                    await judge(ofBody[index], try await HostileCircuit.build(path, on: link, id: id))
                })
            Self.undelivered(tally, &trials)
            return trials.outcome("the circuit was destroyed, nothing was delivered")
        }
    }

    /// nil if the circuit has ended, and where it should have.
    ///
    /// - Parameter hop: the hop before the one that can tell; nil if it is hostile and says nothing.
    private static func judgeFlip(_ flip: Flip, _ circuit: HostileCircuit, truncatedBy hop: Int?) async -> String? {
        var truncatedBy: Int?
        while true {
            switch await circuit.next() {
            case .message(let hop, let message) where message.command == RelayCommand.truncated.rawValue:
                // The hops before it say so of themselves as well, later.
                truncatedBy = truncatedBy ?? hop
            case .message(_, let message):
                return "byte \(flip.byte), mask \(flip.mask): command \(message.command) came back"
            case .destroyed:
                guard flip.isOfBody, let hop, truncatedBy != hop else { return nil }
                return "byte \(flip.byte), mask \(flip.mask): not the last hop ended the circuit"
            case let event:
                return "byte \(flip.byte), mask \(flip.mask): the circuit lives on (\(event))"
            }
        }
    }

    private static func flipped(by position: Position) -> Attack {
        Attack(
            "cell-flipped-bit-\(position.rawValue)",
            tries: "a hostile OR as \(position.rawValue) flips a bit of a cell on its way to the exit: all of "
                + "header, tag and message header, each \(Self.onTheWayStride)th of those behind",
            expects: "the honest exit destroys the circuit, and connects to nobody", timeLimit: Self.everyBitTimeLimit
        ) { arena in
            let hostile = try await HostileRouter(in: arena.network)
            let path = position.path(hostile.listing, among: arena.routers)
            try await Self.checkDelivery(along: path)
            let flips = Self.flips(payloadStride: max(arena.payloadStride, Self.onTheWayStride))
            // The honest hop before the exit tells of its end; a hostile one says no more than a Destroy.
            let teller = 1 - position.index
            let outcome = try await LoopbackServer.counting { port, tally in
                // By what a circuit was created with: those of others pass untouched.
                let due = NIOLockedValueBox<[[UInt8]: Flip]>([:])
                hostile.tampers { passage in
                    guard passage.direction == .forward, passage.forwardCellCount == 1,
                        passage.cell[Cell.headerByteCount - 1] == CellCommand.relay.rawValue,
                        let flip = due.withLockedValue({ $0.removeValue(forKey: passage.create) })
                    else { return [.onward(passage.cell)] }
                    var cell = passage.cell
                    flip.apply(to: &cell)
                    return [.onward(cell)]
                }
                var trials = Trials()
                // A wrong header can cost the link, and so a circuit beside it before its own cell has come by.
                for part in [flips.filter(\.isOfBody), flips.filter { !$0.isOfBody }] {
                    var left = part
                    for _ in 0..<4 where !left.isEmpty {
                        let round = left
                        let missed = NIOLockedValueBox<[Flip]>([])
                        let done = try await Self.onSharedLinks(round.count, to: path[0]) { index, link, id in
                            let flip = round[index]
                            if let circuit = try? await HostileCircuit.build(path, on: link, id: id) {
                                let create = circuit.creates[position.index]
                                due.withLockedValue { $0[create] = flip }
                                circuit.send(Self.delivery(to: port))
                                // A cell of another circuit is dropped; the next one finds that it is missing.
                                if flip.isOfID { circuit.send([.init(.drop)]) }
                                let failure = await Self.judgeFlip(flip, circuit, truncatedBy: teller)
                                if due.withLockedValue({ $0.removeValue(forKey: create) }) == nil { return failure }
                            }
                            missed.withLockedValue { $0.append(flip) }
                            return nil
                        }
                        trials.add(done)
                        left = missed.withLockedValue { $0 }
                    }
                    trials.expect(left.isEmpty, "\(left.count) bits were not flipped")
                }
                Self.undelivered(tally, &trials)
                return trials.outcome("the circuit was destroyed, nothing was delivered")
            }
            await hostile.stop()
            return outcome
        }
    }

    // Cells that come twice, not in order, not at all, or under another name.

    private static let replayed = Attack(
        "cell-replayed", tries: "a client sends a cell twice, to a last hop one, two and three hops away",
        expects: "the circuit is destroyed"
    ) { arena in
        try await Self.tampered(arena) { circuit, _ in
            let cell = circuit.seal([.init(.drop)])
            return cell + cell
        }
    }

    private static let reordered = Attack(
        "cell-reordered", tries: "a client swaps two cells, to a last hop one, two and three hops away",
        expects: "the circuit is destroyed, nothing is delivered"
    ) { arena in
        try await Self.tampered(arena) { circuit, port in
            let first = circuit.seal([.init(.drop)])
            return circuit.seal(Self.delivery(to: port)) + first
        }
    }

    private static let dropped = Attack(
        "cell-dropped", tries: "a client leaves one cell out, to a last hop one, two and three hops away",
        expects: "the circuit is destroyed at the next cell, nothing is delivered"
    ) { arena in
        try await Self.tampered(arena) { circuit, port in
            _ = circuit.seal([.init(.drop)])
            return circuit.seal(Self.delivery(to: port))
        }
    }

    private static let renamed = Attack(
        "cell-renamed", tries: "a client sends a Relay cell as RelayEarly, and the other way round",
        expects: "the circuit is destroyed: the command is under the tag too; nothing is delivered"
    ) { arena in
        let early = CellCommand.relayEarly
        var trials = Trials()
        for (sealed, sent) in [(CellCommand.relay, early), (early, CellCommand.relay)] {
            let outcome = try await Self.tampered(arena) { circuit, port in
                var cell = circuit.seal(Self.delivery(to: port), command: sealed)
                cell[Cell.headerByteCount - 1] = sent.rawValue
                return cell
            }
            trials.expect(outcome.verdict == .held, outcome.observed)
        }
        return trials.outcome("the circuit was destroyed, nothing was delivered")
    }

    /// Send what `make` gives over circuits of one, two and three hops, and see them end.
    private static func tampered(
        _ arena: Arena, _ make: @escaping @Sendable (HostileCircuit, _ port: UInt16) -> [UInt8]
    ) async throws -> Outcome {
        try await LoopbackServer.counting { port, tally in
            var trials = Trials()
            for hopCount in 1...3 {
                let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(hopCount)))
                circuit.link.send(make(circuit, port))
                trials.add(failure: await Self.lives(circuit, "\(hopCount) hops"))
            }
            Self.undelivered(tally, &trials)
            return trials.outcome("the circuit was destroyed, nothing was delivered")
        }
    }

    private static let tamperedOnTheWay = Attack(
        "cell-tampered-on-the-way",
        tries: "a hostile guard or middle sends a client's cell twice, late, not at all, or back where it came from",
        expects: "the circuit ends, nothing is delivered"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        let outcome = try await LoopbackServer.counting { port, tally in
            var trials = Trials()
            for position in [Position.guard, .middle] {
                let path = position.path(hostile.listing, among: arena.routers)
                for (name, act) in Self.acts {
                    let held = NIOLockedValueBox<[UInt8]?>(nil)
                    hostile.tampers { passage in
                        guard passage.direction == .forward, passage.forwardCellCount > 0 else {
                            return [.onward(passage.cell)]
                        }
                        return act(passage.cell, held)
                    }
                    let circuit = try await HostileCircuit.build(path)
                    // The first may pass, where it is only sent twice or late: it says nothing that is delivered.
                    circuit.send([.init(.drop)])
                    circuit.send(Self.delivery(to: port))
                    // What comes back to where it came from is noise to a client, and destroys it.
                    let (_, event) = await circuit.end()
                    await circuit.link.close()
                    switch event {
                    case .destroyed, .noise: trials.add(failure: nil)
                    case .message, .linkClosed, .silence:
                        trials.add(failure: "\(name) by the \(position.rawValue): \(event)")
                    }
                }
            }
            Self.undelivered(tally, &trials)
            return trials.outcome("the circuit ended, nothing was delivered")
        }
        await hostile.stop()
        return outcome
    }

    typealias Act = @Sendable (_ cell: [UInt8], _ held: NIOLockedValueBox<[UInt8]?>) -> [HostileRouter.Act]

    /// What an OR can do with two cells that follow each other.
    static let acts: [(name: String, act: Act)] = [
        ("replayed", { cell, _ in [.onward(cell), .onward(cell)] }),
        (
            "reordered",
            { cell, held in
                held.withLockedValue { held in
                    guard let first = held else {
                        held = cell
                        return []
                    }
                    held = nil
                    return [.onward(cell), .onward(first)]
                }
            }
        ),
        (
            "dropped",
            { cell, held in
                held.withLockedValue { held in
                    guard held != nil else {
                        held = cell
                        return []
                    }
                    return [.onward(cell)]
                }
            }
        ),
        ("reflected", { cell, _ in [.back(cell)] }),
    ]
}

extension Trials {
    /// Count those of another.
    mutating func add(_ other: Trials) {
        for _ in 0..<(other.count - other.failures.count) { self.add(failure: nil) }
        for failure in other.failures { self.add(failure: failure) }
    }
}
