import HostilePeers
import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import ThorTestnet

/// Attacks on what stands behind an exit, and by what does.
enum ExitAttacks {
    static let all = [
        Self.forbiddenTargets, Self.closedLoopback, Self.ownAndNodes, Self.rebinding, Self.oneHop, Self.trickle,
        Self.reset, Self.deaf,
        Self.source,
    ]

    // Targets.

    /// This machine, in every spelling that some library takes.
    private static let loopbackSpellings = [
        "127.0.0.1", "127.0.0.3", "127.255.255.254", "2130706433", "0x7f000001", "0x7F.0.0.1", "0x7f.1", "017700000001",
        "0177.0.0.1", "0177.0.0.01", "127.1", "127.0.1", "127.000.000.001", "127.0.0.1.", "127.0.0.1:80", " 127.0.0.1",
        "127.0.0.1 ", "127。0。0。1", "１２７.0.0.1", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::0001", "::1%lo", "::1%1",
        "::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:7F00:0001", "0:0:0:0:0:ffff:127.0.0.1", "::127.0.0.1", "::7f00:1",
        "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::127.0.0.1", "2002:7f00:1::",
        "2002:7f00:0001:0000::1", "2001:0:7f00:1::80ff:fffe", "localhost", "LocalHost", "localhost.", "x.localhost",
        "ip6-localhost", "localhost.localdomain", "0", "0.0.0.0", "0.0.0.1", "0.1.2.3", "::", "[::]", "0x0", "000",
    ]

    /// What cloud machines and home networks answer on.
    private static let nearbySpellings = [
        "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd00:ec2::254", "168.63.129.16",
        "100.100.100.200", "192.0.0.192", "10.0.0.1", "167772161", "192.168.1.1", "0xc0a80101", "172.16.0.1",
        "::ffff:10.0.0.1", "::10.0.0.1", "2002:a00:1::", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1",
        "ff02::1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "metadata.google.internal", "instance-data",
        "router.lan",
    ]

    /// Of those, what any name server could have an answer to.
    private static let plainNames: Set = ["metadata.google.internal", "instance-data", "router.lan"]

    private static let forbiddenTargets = Attack(
        "exit-forbidden-targets",
        tries: "Begin and Resolve, at an exit with the standard rules, and 127.0.0.2 open, to each special-purpose "
            + "range and to \(Self.loopbackSpellings.count + Self.nearbySpellings.count) spellings; its name server "
            + "says that every name is this machine",
        expects: "refused, though 127.0.0.2 is not, and the name server is asked; nobody connects", needsDaemons: true
    ) { arena in
        try await Self.withLyingNames { names in
            let options = ["--resolver", "\(names)", "--exit-policy", "accept 127.0.0.2:*"]
            return try await Self.withExit(arena, options) { exit in
                let path = [arena.routers[0], exit]
                var trials = try await Self.refusesForbidden(path)
                // The control: the exit does open what its rules open.
                try await LoopbackServer.serving(.count, host: "127.0.0.2") { port, _ in
                    trials.add(try await Self.begin(path, [("127.0.0.2", port)], wants: .connected))
                }
                return trials
            }
        }
    }

    /// Give `body` a name server that says that every name is this machine, or what cloud machines answer on; it must be
    /// asked.
    private static func withLyingNames(_ body: (Endpoint) async throws -> Trials) async throws -> Outcome {
        let questionCount = NIOLockedValueBox(0)
        let names = try await HostileNameServer { _, _ in
            questionCount.withLockedValue { $0 += 1 }
            return [.v4(0x7f00_0001), .v4(0xa9fe_a9fe), .v6(hi: 0, lo: 1), .v6(hi: 0, lo: 0xffff_7f00_0001)]
        }
        do {
            var trials = try await body(names.endpoint)
            await names.stop()
            trials.expect(questionCount.withLockedValue { $0 } > 0, "the name server was never asked")
            return trials.outcome("refused, nobody connected")
        } catch {
            await names.stop()
            throw error
        }
    }

    /// Ask the last of the path for each special-purpose range and each spelling, by Begin and by Resolve.
    private static func refusesForbidden(_ path: [ConsensusRouter]) async throws -> Trials {
        let ranges = SpecialPurpose.table.flatMap { entry in
            [
                "\(entry.prefix.address)",
                entry.prefix.address.next.flatMap { entry.prefix.contains($0) ? "\($0)" : nil },
            ].compactMap { $0 }
        }
        let hosts = Self.loopbackSpellings + Self.nearbySpellings + ranges
        return try await LoopbackServer.counting { port, tally in
            var trials = try await Self.begin(path, hosts.map { ($0, port) })
            trials.add(try await Self.resolve(path, hosts))
            CellAttacks.undelivered(tally, &trials)
            return trials
        }
    }

    private static let closedLoopback = Attack(
        "exit-loopback-closed",
        tries:
            "the same in a network that does not allow loopback, as every real one, at an exit whose rules accept all "
            + "of loopback",
        expects: "refused whatever the rules say; nobody connects", needsDaemons: true
    ) { arena in
        // No router on loopback would be listed there but by a directory of ours; and circuits of one hop do.
        let forger = try ForgedConsensus(
            arena, parameters: AttackedParameters.all.setting(["allow-loopback=0", "allow-one-hop-begin=1"]))
        let key = arena.directorySecret
        let listed = NIOLockedValueBox<ConsensusRouter?>(nil)
        let directory = try await HostileDirectory(key: key) { message, _ in
            if case .register(let bytes) = message, let own = try? SignedDescriptor(verifying: bytes) {
                listed.withLockedValue { $0 = ConsensusRouter(descriptor: own, flags: .exit, weight: 1) }
            }
            guard let own = listed.withLockedValue({ $0 }), let consensus = try? forger.make([own]) else {
                return [.close]
            }
            return ForgedConsensus.answer(message, consensus, key)
        }
        let rules = ["accept 127.0.0.0/8:*", "accept [::1]:*", "reject *:*"].flatMap { ["--exit-policy", $0] }
        do {
            let outcome = try await Self.withLyingNames { names in
                try await Self.withRouter(
                    arena, directory.endpoint, ["--resolver", "\(names)"] + rules
                ) { _ in
                    guard let exit = listed.withLockedValue({ $0 }) else { throw PeerError.notListed }
                    return try await Self.refusesForbidden([exit])
                }
            }
            await directory.stop()
            return outcome
        } catch {
            await directory.stop()
            throw error
        }
    }

    private static let ownAndNodes = Attack(
        "exit-own-and-nodes",
        tries: "Begin, at an exit whose rules accept loopback and its own interfaces, to every node's port, to its own "
            + "interfaces, to no address",
        expects: "refused whatever the rules say; nobody connects, but to another port of loopback", needsDaemons: true
    ) { arena in
        let own = try System.enumerateDevices().compactMap { $0.address.flatMap { Endpoint($0)?.address } }
            .filter { !SpecialPurpose.isLoopback($0) }
        // `accept *:*` would open no special-purpose address: the rules, and not what is under attack, would refuse them.
        let open = ["127.0.0.0/8", "[::ffff:127.0.0.0]/104"] + own.map { $0.isIPv4 ? "\($0)/32" : "[\($0)]/128" }
        return try await Self.withExit(arena, open.flatMap { ["--exit-policy", "accept \($0):*"] }) { exit in
            let path = [arena.routers[0], exit]
            let nodes = (arena.routers + [exit]).flatMap(\.addresses)
            var targets = nodes.flatMap { node in
                ["\(node.address)", "::ffff:\(node.address)"].map { ($0, node.port) }
            }
            return try await LoopbackServer.serving(.count, host: "0.0.0.0") { port, tally in
                targets += own.map { ("\($0)", port) }
                targets += ["0.0.0.0", "::", "::ffff:0.0.0.0", "::0.0.0.0"].map { ($0, port) }
                var trials = try await Self.begin(path, targets, wants: .refused([.exitPolicy]))
                CellAttacks.undelivered(tally, &trials)
                // The control: the rules do open loopback.
                try await LoopbackServer.counting { port, _ in
                    let others = ["127.0.0.1", "::ffff:127.0.0.1"].map { ($0, port) }
                    trials.add(try await Self.begin(path, others, wants: .connected))
                }
                return trials.outcome("refused, nobody connected")
            }
        }
    }

    private static let rebinding = Attack(
        "exit-rebinding",
        tries:
            "40 names whose name server answers with an open address and a forbidden one, in turns, and both at once",
        expects: "each stream goes to the open address or is refused; nobody connects to the forbidden one",
        needsDaemons: true
    ) { arena in
        let open = IPAddress.v4(0x7f00_0002)
        let forbidden = IPAddress.v4(0x7f00_0001)
        let names = try await HostileNameServer { name, count in
            switch name.first {
            case "a": [count % 2 == 1 ? open : forbidden]
            case "b": [count % 2 == 1 ? forbidden : open]
            case "c": [forbidden, open]
            default: [open, forbidden, .v6(hi: 0, lo: 0xffff_7f00_0001)]
            }
        }
        let rules = ["--exit-policy", "accept 127.0.0.2:*", "--exit-policy", "reject *:*"]
        let outcome = try await Self.withExit(arena, ["--resolver", "\(names.endpoint)"] + rules) { exit in
            try await LoopbackServer.counting { port, trap in
                try await LoopbackServer.serving(.count, host: "127.0.0.2", port: port) { _, opened in
                    var trials = Trials()
                    let circuit = try await Self.circuit([arena.routers[0], exit])
                    for stream in UInt16(1)...40 {
                        // Each name is asked for four times.
                        let name = "\(["a", "b", "c", "d"][Int(stream % 4)])\((stream - 1) / 16).rebinding.example"
                        circuit.send([.begin(stream, port: port, host: name), .init(.data, stream, [1])])
                        guard case .message(_, let answer) = await Self.answer(circuit) else {
                            throw PeerError.circuitFailed("no answer to a Begin or Resolve")
                        }
                        let isOpen =
                            answer.command == RelayCommand.connected.rawValue
                            && Array(answer.data.prefix(5)) == [4] + open.bytes
                        let isRefused =
                            answer.command == RelayCommand.end.rawValue
                            && answer.data == [EndReason.exitPolicy.rawValue]
                        trials.expect(isOpen || isRefused, "\(name): command \(answer.command), \(answer.data)")
                    }
                    await circuit.link.close()
                    trials.expect(
                        opened.withLockedValue { $0.connectionCount } > 0, "the open address was never reached")
                    CellAttacks.undelivered(trap, &trials)
                    return trials.outcome("nobody connected to the forbidden address")
                }
            }
        }
        await names.stop()
        return outcome
    }

    private static let oneHop = Attack(
        "exit-one-hop", tries: "Begin and Resolve on a circuit of one hop, to an exit that would let them out",
        expects: "refused: nobody uses an exit as a one-hop proxy", needsDaemons: true
    ) { arena in
        try await LoopbackServer.counting { port, tally in
            var trials = Trials()
            let circuit = try await HostileCircuit.build([arena.routers[0]])
            circuit.send([.begin(1, port: port), .init(.data, 1, [1])])
            let refused = HostileCircuit.Message(.end, 1, [EndReason.notAllowed.rawValue])
            let begun = await circuit.next()
            trials.expect(begun == .message(hop: 0, refused), "Begin: \(begun)")
            circuit.send([.init(.resolve, 2, [1] + Array("localhost".utf8))])
            guard case .message(_, let answer) = await circuit.next() else {
                throw PeerError.circuitFailed("no answer to a Begin or Resolve")
            }
            trials.expect(
                answer == .init(.resolved, 2, [EndReason.notAllowed.rawValue]), "Resolve: \(answer)")
            await circuit.link.close()
            CellAttacks.undelivered(tally, &trials)
            return trials.outcome("refused")
        }
    }

    /// Start an exit of its own in the network, and give `body` its listing.
    ///
    /// - Parameter state: its state directory; a new one if not said.
    static func withExit<R>(
        _ arena: Arena, _ options: [String], state: String? = nil,
        _ body: (ConsensusRouter) async throws -> R
    ) async throws -> R {
        try await Self.withRouter(arena, arena.network.directory, options, state: state) { identity in
            guard let listed = try await arena.network.consensus().router(identity) else { throw PeerError.notListed }
            return try await body(listed)
        }
    }

    /// Start a router that has this directory, and let `body` use it once it is ready.
    private static func withRouter<R>(
        _ arena: Arena, _ directory: Endpoint, _ options: [String], state: String? = nil,
        _ body: (Ed25519PublicKey) async throws -> R
    ) async throws -> R {
        let starter = try arena.needDaemons()
        let key = Ed25519PrivateKey()
        let daemon = try starter.start(
            .router(0),
            [
                "\(directory)", try starter.writeKey(arena.network.directoryKey), try starter.writeSecret(key),
                "--listen", "127.0.0.1:0", "--nickname", "Attacked",
            ] + options, state: state)
        return try await starter.using(daemon) {
            _ = try await daemon.ready()
            return try await body(key.publicKey)
        }
    }

    /// A circuit along the path; the hop before the last may have to hear of it first.
    private static func circuit(_ path: [ConsensusRouter]) async throws -> HostileCircuit {
        var circuit: HostileCircuit?
        try await Wait.until("a circuit to the exit", seconds: 20) {
            circuit = try? await HostileCircuit.build(path)
            return circuit != nil
        }
        guard let circuit else { throw PeerError.circuitFailed("no answer to a Begin or Resolve") }
        return circuit
    }

    /// The next message that is an answer: SendMes come in between.
    private static func answer(_ circuit: HostileCircuit) async -> HostileCircuit.Event {
        while true {
            let event = await circuit.next()
            if case .message(_, let message) = event, message.command == RelayCommand.sendMe.rawValue { continue }
            return event
        }
    }

    /// How a Begin should end.
    private enum Answer {
        case connected
        /// With an End of one of these reasons.
        case refused([EndReason])

        func isThis(_ answer: HostileCircuit.Message) -> Bool {
            switch self {
            case .connected: answer.command == RelayCommand.connected.rawValue
            case .refused(let reasons):
                answer.command == RelayCommand.end.rawValue && reasons.contains(EndReason(wire: answer.data.first ?? 0))
            }
        }
    }

    /// A spelling that is no address may end as no name does; what is one must have been looked up.
    private static func refusal(of host: String) -> Answer {
        .refused(Self.plainNames.contains(host) ? [.exitPolicy] : [.exitPolicy, .noSuchName, .resolveFailed])
    }

    /// Ask for each target.
    ///
    /// - Parameter wants: what each answer must be; a refusal that fits the host, if not said.
    private static func begin(
        _ path: [ConsensusRouter], _ targets: [(host: String, port: UInt16)], wants: Answer? = nil
    ) async throws -> Trials {
        let circuit = try await Self.circuit(path)
        var trials = Trials()
        for (index, target) in targets.enumerated() {
            let stream = UInt16(index + 1)
            circuit.send([.begin(stream, port: target.port, host: target.host), .init(.data, stream, [1])])
            switch await Self.answer(circuit) {
            case .message(_, let answer):
                let reason = EndReason(wire: answer.data.first ?? 0)
                trials.expect(
                    (wants ?? Self.refusal(of: target.host)).isThis(answer),
                    "\(target.host):\(target.port): command \(answer.command), \(reason)")
            case let event: trials.add(failure: "\(target.host):\(target.port): \(event)")
            }
        }
        await circuit.link.close()
        return trials
    }

    /// Ask for the addresses of each name; none that is forbidden may be told.
    private static func resolve(_ path: [ConsensusRouter], _ names: [String]) async throws -> Trials {
        let circuit = try await Self.circuit(path)
        var trials = Trials()
        for (index, name) in names.enumerated() {
            let stream = UInt16(index + 1)
            circuit.send([.init(.resolve, stream, [1] + Array(name.utf8))])
            switch await Self.answer(circuit) {
            case .message(_, let answer):
                // A failure is its reason alone, and never 0.
                let isFailure =
                    answer.command == RelayCommand.resolved.rawValue && answer.data.count == 1 && answer.data != [0]
                trials.expect(isFailure, "\(name) was resolved: \(answer.data.prefix(24))")
            case let event: trials.add(failure: "\(name): \(event)")
            }
        }
        await circuit.link.close()
        return trials
    }

    // Destinations.

    /// So many streams go to the hostile destination at once.
    private static let streamCount = 16

    private static let trickle = Self.destination(
        "trickle", .trickle, tries: "sends one byte every tenth of a second", sends: 0,
        also: ("each gets its bytes", { $0.byteCount > 1 }))
    private static let reset = Self.destination(
        "reset", .reset, tries: "resets each connection after the first bytes", sends: 100,
        also: ("each is reset", \.isReset))
    private static let deaf = Self.destination(
        "deaf", .deaf, tries: "never reads what it is sent, 4 MiB on each stream", sends: 4 << 20)
    private static let source = Self.destination(
        "endless", .source, tries: "sends for ever to a user who does not read", sends: 0)

    private static func destination(
        _ name: String, _ habit: LoopbackServer.Habit, tries: String, sends byteCount: Int,
        also: (what: String, isSeen: @Sendable (UserConnection) -> Bool)? = nil
    ) -> Attack {
        Attack(
            "exit-destination-\(name)", tries: "a destination of \(Self.streamCount) streams \(tries)",
            expects:
                "\(also.map { "\($0.what); " } ?? "")other streams on the same circuit go on, and answer within 5 s",
            needsDaemons: true
        ) { arena in
            let user = try arena.needUser()
            return try await LoopbackServer.serving(habit) { port, _ in
                var connections: [UserConnection] = []
                for _ in 0..<Self.streamCount {
                    // The name of the honest requests: they share the circuit.
                    connections.append(try await user.open(port: port, name: "honest", reads: habit.isHeard))
                }
                for connection in connections where byteCount > 0 {
                    connection.send([UInt8](repeating: 0x54, count: byteCount))
                }
                var trials = Trials()
                for _ in 0..<20 {
                    let start = ContinuousClock.now
                    do {
                        try await user.checkService(seconds: 5)
                        let elapsed = ContinuousClock.now - start
                        trials.expect(elapsed < .seconds(5), "an answer took \(elapsed)")
                    } catch {
                        trials.add(failure: "\(error)")
                    }
                }
                if let also {
                    try? await Wait.until(also.what, seconds: 5) { connections.allSatisfy(also.isSeen) }
                    for connection in connections { trials.expect(also.isSeen(connection), "not so: \(also.what)") }
                }
                for connection in connections { await connection.close() }
                return trials.outcome("all were answered in time")
            }
        }
    }
}

extension LoopbackServer.Habit {
    /// Whether the user reads what such a destination sends.
    fileprivate var isHeard: Bool {
        switch self {
        case .source: false
        case .echo, .count, .trickle, .reset, .deaf: true
        }
    }
}

extension IPAddress {
    /// The address behind this one.
    fileprivate var next: IPAddress? {
        switch self {
        case .v4(let value): value == .max ? nil : .v4(value + 1)
        case .v6(let hi, let lo): lo == .max ? nil : .v6(hi: hi, lo: lo + 1)
        }
    }
}
