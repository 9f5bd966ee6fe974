import HostilePeers
import NIOConcurrencyHelpers
import NIOCore
import OnionCells
import OnionCrypto
import OnionDirectory

/// Credit that was not earned, data that nobody asked for, and more of anything than is allowed.
enum WindowAttacks {
    static let all = [
        Self.sendMeUnearned, Self.sendMeTwice, Self.dataBeyondWindow, Self.xOffStorm, Self.xOnStorm, Self.beginFlood,
        Self.beginsPerCell, Self.dropFlood,
    ]

    private static let sendMeUnearned = Attack(
        "cell-sendme-unearned",
        tries: "SendMe for data that has not come: none due, a guessed tag, the tag of a cell that is not the 32nd",
        expects: "the circuit is destroyed"
    ) { arena in
        let path = Array(arena.routers.prefix(2))
        return try await LoopbackServer.serving(.source) { port, _ in
            var trials = Trials()
            let early = try await HostileCircuit.build(path)
            early.send([.init(.sendMe, 0, SecureRandom.bytes(CellTag.byteCount))])
            trials.add(failure: await CellAttacks.lives(early, "none due"))
            // With data under way, so that SendMes are due.
            for offset in [nil, 0, 30, 32] {
                let circuit = try await Self.downloading(path, port, cellCount: 64)
                let tag = offset.map { circuit.receivedTags[$0].bytes } ?? SecureRandom.bytes(CellTag.byteCount)
                circuit.send([.init(.sendMe, 0, tag)])
                trials.add(failure: await CellAttacks.lives(circuit, "tag \(offset.map { "\($0)" } ?? "guessed")"))
            }
            return trials.outcome("the circuit was destroyed")
        }
    }

    private static let sendMeTwice = Attack(
        "cell-sendme-twice", tries: "the right SendMe, and then the same again; the second one before the first",
        expects: "the right one is taken, any other destroys the circuit"
    ) { arena in
        let path = Array(arena.routers.prefix(2))
        return try await LoopbackServer.serving(.source) { port, _ in
            var trials = Trials()
            let circuit = try await Self.downloading(path, port, cellCount: 64)
            // Until the window is spent.
            while case .message = await circuit.next(seconds: 1) {}
            let before = circuit.receivedTags.count
            circuit.send([.init(.sendMe, 0, circuit.receivedTags[31].bytes)])
            // It is taken: more comes than the window had.
            while case .message = await circuit.next(seconds: 1) {}
            trials.expect(circuit.receivedTags.count > before, "the right SendMe was not taken")
            circuit.send([.init(.sendMe, 0, circuit.receivedTags[31].bytes)])
            trials.add(failure: await CellAttacks.lives(circuit, "the same again"))
            let reversed = try await Self.downloading(path, port, cellCount: 70)
            reversed.send([.init(.sendMe, 0, reversed.receivedTags[63].bytes)])
            trials.add(failure: await CellAttacks.lives(reversed, "the second before the first"))
            return trials.outcome("only the right one was taken")
        }
    }

    /// A circuit over which at least so many counted cells have come, and no SendMe has gone.
    private static func downloading(
        _ path: [ConsensusRouter], _ port: UInt16, cellCount: Int
    ) async throws -> HostileCircuit {
        let circuit = try await HostileCircuit.build(path)
        circuit.send([.begin(1, port: port)])
        while circuit.receivedTags.count < cellCount {
            guard case .message = await circuit.next() else { throw PeerError.circuitFailed("no answer to a Begin") }
        }
        return circuit
    }

    private static let dataBeyondWindow = Attack(
        "cell-data-beyond-window",
        tries: "Data for a destination that never reads, without end, XOff or no XOff",
        expects: "the circuit is destroyed once more came than can have been in flight"
    ) { arena in
        try await LoopbackServer.serving(.deaf) { port, _ in
            var trials = Trials()
            let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(3)))
            circuit.send([.begin(1, port: port)])
            let chunk = [UInt8](repeating: 0x54, count: RelayMessageHeader.maximumDataByteCount)
            // The largest window, what the stream holds before XOff, what the kernel holds; and as much again.
            let limit = 4 * 16_384
            var sent = 0
            var hasEnded = false
            while sent < limit, !hasEnded, !circuit.link.isClosed {
                let batch = (0..<64).flatMap { _ in circuit.seal([.init(.data, 1, chunk)]) }
                guard await circuit.link.sendAndWait(batch, seconds: 10) else { break }
                sent += 64
                hasEnded = circuit.link.hasDestroy(of: circuit.id)
            }
            trials.add(failure: await CellAttacks.lives(circuit, "after \(sent) cells"))
            trials.expect(sent < limit, "\(sent) cells were taken")
            return trials.outcome("destroyed after \(sent) cells at most")
        }
    }

    private static let xOffStorm = Attack(
        "cell-xoff-storm", tries: "XOff and XOn in turns, 2,000 of each", expects: "the circuit is destroyed"
    ) { arena in
        try await Self.storm(arena, count: 2000, [.init(.xOff, 1), .init(.xOn, 1, [0, 0, 0, 1])])
    }

    private static let xOnStorm = Attack(
        "cell-xon-storm", tries: "XOn without an XOff; XOff twice", expects: "the circuit is destroyed"
    ) { arena in
        let on = try await Self.storm(arena, count: 1, [.init(.xOn, 1, [0, 0, 0, 1])])
        let off = try await Self.storm(arena, count: 1, [.init(.xOff, 1), .init(.xOff, 1)])
        return on.verdict == .held ? off : on
    }

    /// Say the messages `count` times on an open stream.
    private static func storm(
        _ arena: Arena, count: Int, _ messages: [HostileCircuit.Message]
    ) async throws -> Outcome {
        try await LoopbackServer.serving(.deaf) { port, _ in
            let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(2)))
            circuit.send([.begin(1, port: port)])
            guard case .message = await circuit.next() else { throw PeerError.circuitFailed("no answer to a Begin") }
            for _ in 0..<count { circuit.send(messages) }
            var trials = Trials()
            trials.add(failure: await CellAttacks.lives(circuit, "\(count) times"))
            return trials.outcome("the circuit was destroyed")
        }
    }

    private static let beginFlood = Attack(
        "cell-begin-flood", tries: "400 Begins on one circuit, eight in a cell",
        expects: "256 streams are opened, the others refused one by one, and the circuit lives"
    ) { arena in
        let limit = AttackedParameters.all[.streamsPerCircuit]
        return try await LoopbackServer.counting { port, tally in
            let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(2)))
            for first in stride(from: UInt16(1), to: 401, by: 8) {
                circuit.send((0..<8).map { .begin(first + $0, port: port) })
            }
            var opened = 0
            var refused = 0
            while opened + refused < 400, case .message(_, let message) = await circuit.next() {
                switch RelayCommand(rawValue: message.command) {
                case .connected: opened += 1
                case .end where message.data == [EndReason.resourceLimit.rawValue]: refused += 1
                default: break
                }
            }
            var trials = Trials()
            trials.expect(opened == limit, "\(opened) were opened")
            trials.expect(refused == 400 - limit, "\(refused) were refused")
            let seen = tally.withLockedValue { $0.connectionCount }
            trials.expect(seen <= limit, "the destination saw \(seen) connections")
            let event = await circuit.next(seconds: 0.2)
            trials.expect(event == .silence, "the circuit ended: \(event)")
            await circuit.link.close()
            return trials.outcome("\(opened) opened, \(refused) refused, the circuit lives")
        }
    }

    private static let beginsPerCell = Attack(
        "cell-begins-in-one-cell", tries: "nine Begins or Resolves in one cell", expects: "the circuit is destroyed"
    ) { arena in
        try await LoopbackServer.counting { port, _ in
            var trials = Trials()
            let lists: [[HostileCircuit.Message]] = [
                (1...9).map { .begin($0, port: port) }, (1...9).map { .init(.resolve, $0, [1, 0x61]) },
                (1...9).map { $0 % 2 == 0 ? .begin($0, port: port) : .init(.resolve, $0, [1, 0x61]) },
            ]
            for messages in lists {
                let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(2)))
                circuit.send(messages)
                trials.add(failure: await CellAttacks.lives(circuit, "nine"))
            }
            return trials.outcome("the circuit was destroyed")
        }
    }

    private static let dropFlood = Attack(
        "cell-drop-flood", tries: "20,000 cells of padding, and no SendMe of the exit's is read",
        expects: "all are taken; the SendMes are there once they are read, and the circuit opens a stream"
    ) { arena in
        let count = 20_000
        return try await LoopbackServer.counting { port, _ in
            let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(3)))
            let channel = circuit.link.channel
            try await channel.setOption(.autoRead, value: false).get()
            var sent = 0
            while sent < count, channel.isActive {
                let batch = (0..<50).flatMap { _ in circuit.seal([.init(.drop)]) }
                guard await circuit.link.sendAndWait(batch, seconds: 5) else { break }
                sent += 50
            }
            var trials = Trials()
            trials.expect(sent == count && channel.isActive, "\(sent) cells were taken")
            // Had the link ended, it would show now.
            try await channel.setOption(.autoRead, value: true).get()
            let wanted = count / NetworkParameters.sendMeIncrement
            var sendMeCount = 0
            var event = HostileCircuit.Event.silence
            while sendMeCount < wanted {
                event = await circuit.next()
                guard case .message(2, let message) = event, message.command == RelayCommand.sendMe.rawValue else {
                    break
                }
                sendMeCount += 1
            }
            trials.expect(sendMeCount == wanted, "of \(wanted) SendMes \(sendMeCount) came, then \(event)")
            circuit.send([.begin(1, port: port)])
            let answer = await circuit.next()
            let isConnected =
                if case .message(2, let message) = answer { message.command == RelayCommand.connected.rawValue } else {
                    false
                }
            trials.expect(isConnected, "a Begin was answered with \(answer)")
            await circuit.link.close()
            return trials.outcome("\(sent) cells were taken, \(sendMeCount) SendMes came, a stream was opened")
        }
    }
}
