import HostilePeers
import NIOConcurrencyHelpers
import OnionCells
import OnionCrypto
import OnionDirectory

/// What an exit may not say to a real client: messages of the wrong direction, order, stream or length, and more than is
/// allowed. The other way round they are in ``RelayMessageAttacks`` and ``WindowAttacks``.
enum ExitMessageAttacks {
    static let all = [Self.spoken, Self.pastXOff]

    private typealias Message = HostileCircuit.Message

    /// Cells that an exit sends when it should not, and when it does.
    private struct Lie: Sendable {
        /// In place of the answer to Begin or Resolve, or behind the answer to Data.
        var moment = RelayCommand.data
        /// It is told at the so-many-th of these messages.
        var number = 1
        /// The payloads of the cells.
        var payloads: [[UInt8]]
        var what: String

        init(_ messages: [Message], at moment: RelayCommand = .data, number: Int = 1) {
            self.moment = moment
            self.number = number
            self.payloads = [messages.flatMap { HostileCircuit.encode($0) }]
            let told = messages.prefix(2).map { "\($0.command) on stream \($0.stream), \($0.data.count) bytes" }
            self.what = "command " + told.joined(separator: ", then ")
        }

        init(_ payloads: [[UInt8]], _ what: String) {
            self.payloads = payloads
            self.what = what
        }
    }

    private static let tag = [UInt8](repeating: 7, count: CellTag.byteCount)
    /// 1.2.3.4, for a second.
    private static let address: [UInt8] = [4, 1, 2, 3, 4, 0, 0, 0, 1]
    /// The same, said to be of another kind.
    private static func address(kind: UInt8) -> [UInt8] { [kind, 1, 2, 3, 4, 0, 0, 0, 1] }
    private static let connected = Message(.connected, 1, Self.address)
    private static let data = Message(.data, 1, CellAttacks.stolen)

    /// On a stream that is open; the proxy's is number 1.
    private static func toOpenStream(_ router: ConsensusRouter) -> [Lie] {
        let finished = Message(.end, 1, [EndReason.finished.rawValue])
        let reset = Message(.end, 1, [EndReason.reset.rawValue])
        let (xOff, xOn) = (Message(.xOff, 1), Message(.xOn, 1, [0, 0, 0, 1]))
        let lists: [[Message]] = [
            [Self.connected], [.init(.resolved, 1, [EndReason.noSuchName.rawValue])], [.begin(2, port: 80)],
            [.init(.resolve, 2, [1, 0x61])], [.init(.extend, 0, router.identity.rawBytes)],
            [.init(.extended, 0, [UInt8](repeating: 7, count: CircuitHandshake.createdByteCount))],
            [.init(.truncated, 0, [0])], [finished, Self.data], [finished, finished], [reset, Self.data],
            [reset, Self.connected], [xOn], [xOff, xOff], [.init(.sendMe, 0, Self.tag)],
        ]
        let lengths: [[Message]] = [
            [.init(.end, 1, [])], [.init(.end, 1, [1, 1])], [.init(.xOff, 1, [1])], [xOff, .init(.xOn, 1, [])],
            [xOff, .init(.xOn, 1, [0, 0, 0])], [xOff, .init(.xOn, 1, [0, 0, 0, 1, 1])], [.init(.sendMe, 0, [])],
            [.init(.sendMe, 0, [UInt8](repeating: 7, count: CellTag.byteCount - 1))],
            [.init(.sendMe, 0, [UInt8](repeating: 7, count: CellTag.byteCount + 1))],
        ]
        return (lists + lengths).map { Lie($0) } + Self.toOtherStreams + Self.brokenHeaders
    }

    private static var toOtherStreams: [Lie] {
        let ofStreams: [Message] = [
            Self.data, .init(.end, 1, [1]), .init(.xOff, 1), .init(.xOn, 1, [0, 0, 0, 1]), Self.connected,
            .init(.resolved, 1, [EndReason.noSuchName.rawValue]),
        ]
        var messages: [Message] = []
        for var message in ofStreams {
            for stream: UInt16 in [0, 2, 77, 65_535] {
                message.stream = stream
                messages.append(message)
            }
        }
        for command: RelayCommand in [.sendMe, .extended, .truncated, .drop] {
            messages.append(.init(command, 1, Self.tag))
        }
        for command: UInt8 in [14, 15, 127, 255] {
            messages += [.init(raw: command, 0, []), .init(raw: command, 1, [1])]
        }
        return messages.map { Lie([$0]) }
    }

    private static var brokenHeaders: [Lie] {
        let room = Cell.payloadByteCount - RelayMessageHeader.byteCount
        var lies: [Lie] = []
        for count in [0xffff, room + 1] {
            let header = [RelayCommand.data.rawValue, 0, 1, UInt8(count >> 8), UInt8(count & 255)]
            lies.append(Lie([header], "a length of \(count)"))
        }
        for left in 1..<RelayMessageHeader.byteCount {
            // A Drop that leaves room for a part of a header only, and that part.
            let drop = HostileCircuit.encode(.init(.drop, 0, [UInt8](repeating: 0, count: room - left)))
            let part = [RelayCommand.drop.rawValue] + [UInt8](repeating: 0, count: left - 1)
            lies.append(Lie([drop + part], "\(left) bytes of a header"))
        }
        return lies
    }

    /// Credit that was not earned, with data of the client's under way; more XOff and XOn than a stream may have.
    private static var beyondLimits: [Lie] {
        let pairs = (0..<100).flatMap { _ in [Message(.xOff, 1), Message(.xOn, 1, [0, 0, 0, 1])] }
        let cell = pairs.flatMap { HostileCircuit.encode($0) }
        return [
            Lie([.init(.sendMe, 0, Self.tag)], at: .data, number: NetworkParameters.sendMeIncrement + 1),
            Lie([cell, cell, cell], "300 times XOff and XOn"),
        ]
    }

    /// In place of Connected.
    private static var toBegin: [Lie] {
        var lists: [[Message]] = [
            [Self.data], [.init(.end, 1, [EndReason.finished.rawValue])], [.init(.connected, 2, Self.address)],
            [Self.connected, Self.connected], [.init(.resolved, 1, [0, 1] + Self.address)],
            [.init(.connected, 1, Self.address + [1])], [.init(.connected, 1, Self.address(kind: 6))],
            [.init(.connected, 1, Self.address(kind: 9))],
        ]
        for count in Self.address.indices { lists.append([.init(.connected, 1, Array(Self.address.prefix(count)))]) }
        return lists.map { Lie($0, at: .begin) }
    }

    /// In place of Resolved.
    private static var toResolve: [Lie] {
        let answer = [0, 1] + Self.address
        var bodies: [[UInt8]] = answer.indices.map { Array(answer.prefix($0)) }
        bodies += [
            answer + [1], [0, 17] + Self.address, [0, 1] + Self.address(kind: 9), [EndReason.noSuchName.rawValue, 1],
        ]
        // Names: none, NUL, and what is no UTF-8.
        bodies += [[0, 1, 1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0xff, 0, 0, 0, 1]]
        var lists: [[Message]] = bodies.map { [.init(.resolved, 1, $0)] }
        let resolved = Message(.resolved, 1, answer)
        lists += [[Self.connected], [Self.data], [resolved, resolved]]
        return lists.map { Lie($0, at: .resolve) }
    }

    private static let spoken = Attack(
        "cell-spoken-by-exit",
        tries:
            "a hostile exit says what only a client says, or what is not its turn to say: before Connected, after End, "
            + "twice, on other streams, of wrong length, without being asked; SendMe for what it did not get; XOff and XOn "
            + "in turns",
        expects: "thor-proxy ends the circuit; its user gets no byte of it", needsDaemons: true,
        timeLimit: BackwardAttacks.timeLimit
    ) { arena in
        let lies = Self.toOpenStream(arena.routers[0]) + Self.beyondLimits + Self.toBegin + Self.toResolve
        let observed = "the circuit ended, nothing of it was delivered"
        return try await BackwardAttacks.with(arena, .exit, observed: observed) { hostile, bait, port in
            var trials = Trials()
            for (index, lie) in lies.enumerated() {
                let failure = try await Self.trial("lie-\(index)", lie, hostile, bait, port)
                trials.add(failure: failure.map { "\(lie.what), at \(lie.moment): \($0)" })
            }
            trials.add(failure: try await Self.control(hostile, bait, port))
            return trials
        }
    }

    /// Tell a lie on a circuit of its own; nil if the proxy has ended that.
    private static func trial(
        _ name: String, _ lie: Lie, _ hostile: HostileRouter, _ bait: Bait, _ port: UInt16
    ) async throws -> String? {
        struct Told {
            var count = 0
            var circuit: Int?
        }
        let told = NIOLockedValueBox(Told())
        hostile.answers { message, circuit in
            // A Begin to the directory says so in its first byte.
            guard message.command == lie.moment.rawValue, lie.moment != .begin || message.data.first == 0 else {
                return nil
            }
            let isDue = told.withLockedValue { told in
                told.count += 1
                guard told.count == lie.number else { return false }
                told.circuit = circuit
                return true
            }
            guard isDue else { return nil }
            return (lie.moment == .data ? [HostileCircuit.encode(message)] : []) + lie.payloads
        }
        // So many bytes that they take more cells than the lie waits for.
        let request = [UInt8](repeating: 0x54, count: (lie.number + 1) * Cell.payloadByteCount)
        let hasEnded = {
            told.withLockedValue { $0.circuit }.map { hostile.tally.endedCircuits.contains($0) } ?? false
        }
        var received: [UInt8] = []
        if lie.moment == .resolve {
            let connection = try await bait.user.resolve("a", name: name)
            try? await Wait.until("the circuit ends") { hasEnded() }
            await connection.close()
        } else {
            // A circuit that fails before Connected is another's turn: then the user notices nothing.
            let connection = try? await bait.user.open(port: port, name: name)
            if lie.moment == .data { connection?.send(request) }
            try? await Wait.until("the circuit ends") { hasEnded() }
            received = connection?.received ?? []
            await connection?.close()
        }
        guard told.withLockedValue({ $0.circuit }) != nil else { return "it was not asked" }
        guard request.starts(with: received) else { return "\(received.count) bytes were delivered" }
        return hasEnded() ? nil : "the circuit lives on"
    }

    /// The control: what an exit may say in the same way, and at the same moment, ends nothing.
    private static func control(_ hostile: HostileRouter, _ bait: Bait, _ port: UInt16) async throws -> String? {
        hostile.answers { message, _ in
            guard message.command == RelayCommand.data.rawValue else { return nil }
            return [[message], [.init(.drop)], [.init(.xOff, 1), .init(.xOn, 1, [0, 0, 0, 1])]].map { messages in
                messages.flatMap { HostileCircuit.encode($0) }
            }
        }
        let connection = try await bait.user.open(port: port, name: "control")
        let circuit = hostile.tally.newestStreamCircuit
        var expected: [UInt8] = []
        for request in ["first", "second"] {
            expected += Array(request.utf8)
            connection.send(Array(request.utf8))
            try? await Wait.until("the echo") { connection.received == expected || connection.isClosed }
        }
        let received = connection.received
        let hasEnded = circuit.map { hostile.tally.endedCircuits.contains($0) } ?? true
        await connection.close()
        return received == expected && !hasEnded ? nil : "what an exit may say ended the circuit"
    }

    private static let pastXOff = Attack(
        "cell-data-past-xoff-by-exit",
        tries: "a hostile exit sends Data without end, XOff or no XOff, to a user who does not read",
        expects: "thor-proxy ends the circuit once more came than can have been in flight, and uses less than "
            + "\(Self.memoryCeiling >> 20) MiB", needsDaemons: true
    ) { arena in
        let starter = try arena.needDaemons()
        let report = NIOLockedValueBox("")
        let window = AttackedParameters.all[.ccWindowMaximum]
        let state = NIOLockedValueBox((sent: 0, circuit: Int?.none))
        let full = [UInt8](repeating: 0x54, count: RelayMessageHeader.maximumDataByteCount)
        let cell = HostileCircuit.encode(.init(.data, 1, full))
        let observed = { report.withLockedValue { $0 } }
        return try await BackwardAttacks.with(arena, .exit, observed: observed()) { hostile, bait, port in
            let connection = try await bait.user.open(port: port, name: "deaf", reads: false)
            hostile.answers { message, circuit in
                let count: Int
                switch RelayCommand(rawValue: message.command) {
                case .data: count = AttackedParameters.all[.ccWindowInitial]
                // As an exit that minds the window, so that no OR between them has more in its queues than it should.
                case .sendMe: count = NetworkParameters.sendMeIncrement
                default: return nil
                }
                state.withLockedValue { state in
                    state.sent += count
                    state.circuit = circuit
                }
                return [[UInt8]](repeating: cell, count: count)
            }
            connection.send([1])
            let hasEnded = {
                state.withLockedValue { $0.circuit }.map { hostile.tally.endedCircuits.contains($0) } ?? false
            }
            try? await Wait.until("the circuit ends", seconds: 40) { hasEnded() }
            let sent = state.withLockedValue { $0.sent }
            let memory = starter.resident.filter { $0.name == "thor-proxy" }.map(\.byteCount).max() ?? 0
            await connection.close()
            report.withLockedValue { $0 = "the circuit ended after \(sent) cells, with \(memory >> 20) MiB in use" }
            var trials = Trials()
            trials.expect(hasEnded(), "the circuit lives on after \(sent) cells")
            // An exit that knew nothing yet of the XOff may have had so many under way.
            trials.expect(sent > window, "it ended after \(sent) cells already")
            trials.expect(sent < 2 * window, "it ended after \(sent) cells only")
            trials.expect(memory < Self.memoryCeiling, "\(memory >> 20) MiB were used")
            return trials
        }
    }

    /// The largest window twice, since buffers double, and a busy proxy besides.
    private static let memoryCeiling = 128 << 20
}

extension HonestUser {
    /// Ask for a name's addresses; returns without the answer.
    fileprivate func resolve(_ host: String, name: String) async throws -> UserConnection {
        let connection = try await UserConnection.connect(to: self.proxy, keeps: true)
        let user = Array(name.utf8.prefix(255))
        let greeting: [UInt8] = [5, 1, 2, 1, UInt8(user.count)] + user + [1, 0x2d]
        connection.send(greeting + [5, 0xf0, 0, 3, UInt8(host.utf8.count)] + Array(host.utf8) + [0, 0])
        return connection
    }
}
