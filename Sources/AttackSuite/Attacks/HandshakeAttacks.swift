import Foundation
import HostilePeers
import NIOConcurrencyHelpers
import OnionCells
import OnionCrypto
import OnionDirectory

/// Attacks on the circuit handshake, from both ends.
enum HandshakeAttacks {
    static let all = [
        Self.wrongKeys, Self.rotatedKey, Self.zeroPoints, Self.badEncapsulationKey, Self.truncatedCreate,
        Self.replayedCreate,
        Self.downgradedCreate, Self.createdThroughHonest, Self.createdToProxy, Self.truncatedCreated,
        Self.wrongLinkKey, Self.wrongLinkKeyToProxy,
    ]

    /// Where the fields of a Created begin, and where it ends.
    private static let createdFields = [
        ("Y", 0), ("ct", 32), ("extension length", 1120), ("AUTH", 1122), ("end", 1154),
    ]

    /// Points of small order: with them X25519 gives zero, whatever the other key.
    ///
    /// - Source: RFC 7748 §6.1; https://cr.yp.to/ecdh.html#validate
    private static let smallOrderPoints: [[UInt8]] = [
        [UInt8](repeating: 0, count: 32),
        [1] + [UInt8](repeating: 0, count: 31),
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
            0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
            0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
        [0xec] + [UInt8](repeating: 0xff, count: 30) + [0x7f],
        [0xed] + [UInt8](repeating: 0xff, count: 30) + [0x7f],
        [0xee] + [UInt8](repeating: 0xff, count: 30) + [0x7f],
    ]

    /// Send each Create to an OR on a link of its own; a Destroy must be the answer.
    private static func refused(
        _ arena: Arena, _ creates: [(name: String, bytes: [UInt8])], _ observed: String = "answered with Destroy"
    ) async throws -> Outcome {
        let router = arena.routers[0]
        return try await repeatedly(creates.count) { index in
            let (name, bytes) = creates[index]
            let link = try await HostileLink.dial(router)
            link.send(0x8000_0001, CellCommand.create.rawValue, bytes)
            let answer = await link.next(of: 0x8000_0001)
            await link.close()
            guard let answer else { return "\(name): no answer" }
            let reason = DestroyReason.handshakeFailed.rawValue
            let isRefused = answer[4] == CellCommand.destroy.rawValue && answer[5] == reason
            return isRefused ? nil : "\(name): answered with command \(answer[4]), reason \(answer[5])"
        }.outcome(observed)
    }

    private static func create(for router: ConsensusRouter) -> [UInt8] {
        CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey).create
    }

    private static let wrongKeys = Attack(
        "handshake-wrong-keys",
        tries:
            "a Create for another identity, for another OR's onion key, for an onion key that this OR no longer has; "
            + "one bit of either changed",
        expects: "a Destroy that does not tell which was wrong"
    ) { arena in
        let (router, other) = (arena.routers[0], arena.routers[1])
        let stale = X25519PrivateKey().publicKey
        var creates: [(String, [UInt8])] = [
            ("another identity", CircuitHandshake.Client(identity: other.identity, onionKey: router.onionKey).create),
            (
                "another's onion key",
                CircuitHandshake.Client(identity: router.identity, onionKey: other.onionKey).create
            ),
            ("a stale onion key", CircuitHandshake.Client(identity: router.identity, onionKey: stale).create),
        ]
        for byte in [2, 33, 34, 65] {
            var create = Self.create(for: router)
            create[byte] ^= 0x10
            creates.append(("byte \(byte)", create))
        }
        return try await Self.refused(arena, creates)
    }

    private static let rotatedKey = Attack(
        "handshake-rotated-key",
        tries: "a Create for each of the last three onion keys of an OR that has just made the newest of them",
        expects: "the two newest are accepted; the oldest is answered with a Destroy", needsDaemons: true
    ) { arena in
        let starter = try arena.needDaemons()
        let lifetime = UInt64(AttackedParameters.all[.onionKeyLifetime])
        let now = UInt64(Date().timeIntervalSince1970)
        let (older, before) = (X25519PrivateKey(), X25519PrivateKey())
        // As an OR leaves them that was last here when the one before was current: its time is over by now.
        let state = starter.freshPath("thor-router")
        try FileManager.default.createDirectory(
            atPath: state, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        try KeyFile.writePrivate(older, to: "\(state)/onion-\(now - 2 * lifetime).key")
        try KeyFile.writePrivate(before, to: "\(state)/onion-\(now - lifetime).key")
        return try await ExitAttacks.withExit(arena, [], state: state) { router in
            var trials = Trials()
            trials.expect(![older.publicKey, before.publicKey].contains(router.onionKey), "no key was made")
            for (name, key, isAccepted) in [
                ("the oldest", older.publicKey, false), ("the one before", before.publicKey, true),
                ("the newest", router.onionKey, true),
            ] {
                let handshake = CircuitHandshake.Client(identity: router.identity, onionKey: key)
                let link = try await HostileLink.dial(router)
                link.send(0x8000_0001, CellCommand.create.rawValue, handshake.create)
                let answer = await link.next(of: 0x8000_0001) ?? []
                await link.close()
                let isCreated =
                    answer.count == Cell.byteCount && answer[4] == CellCommand.created.rawValue
                    && (try? handshake.complete(created: Array(answer[5..<5 + CircuitHandshake.createdByteCount])))
                        != nil
                let isRefused =
                    answer.count == Cell.byteCount && answer[4] == CellCommand.destroy.rawValue
                    && answer[5] == DestroyReason.handshakeFailed.rawValue
                trials.expect(isAccepted ? isCreated : isRefused, "\(name): answered with \(answer.prefix(6))")
            }
            return trials.outcome("the oldest refused, the other two accepted")
        }
    }

    private static let zeroPoints = Attack(
        "handshake-zero-point", tries: "a client key of small order, with which X25519 gives zero: each of the seven",
        expects: "a Destroy"
    ) { arena in
        let creates = Self.smallOrderPoints.enumerated().map { index, point in
            var create = Self.create(for: arena.routers[0])
            create.replaceSubrange(66..<98, with: point)
            return ("point \(index)", create)
        }
        return try await Self.refused(arena, creates)
    }

    private static let badEncapsulationKey = Attack(
        "handshake-bad-kem-key", tries: "an ML-KEM key with coefficients that are none",
        expects: "a Destroy"
    ) { arena in
        var ones = Self.create(for: arena.routers[0])
        ones.replaceSubrange(98..<1282, with: [UInt8](repeating: 0xff, count: 1184))
        // One coefficient of 3329, the modulus.
        var one = Self.create(for: arena.routers[0])
        one.replaceSubrange(98..<100, with: [0x01, (one[99] & 0xf0) | 0x0d])
        return try await Self.refused(arena, [("all ones", ones), ("one coefficient", one)])
    }

    private static let truncatedCreate = Attack(
        "handshake-truncated-create",
        tries:
            "a Create cut off before and in type, identity, onion key and X, of unknown type, with extensions that do not fit, with bytes "
            + "behind it",
        expects: "a Destroy"
    ) { arena in
        let good = Self.create(for: arena.routers[0])
        var creates: [(String, [UInt8])] = [("nothing", [])]
        // What is cut off reads as zeros. In X and ek those make another key, which harms the client alone.
        for byteCount in [1, 2, 20, 33, 34, 50, 65, 66] {
            creates.append(("cut off at \(byteCount)", Array(good.prefix(byteCount))))
        }
        let head = good.dropLast(2)
        creates += [
            ("type 0", [0, 0] + good.dropFirst(2)), ("type 2", [0, 2] + good.dropFirst(2)),
            ("type 257", [1, 1] + good.dropFirst(2)), ("bytes behind", good + [1]),
            ("a bit at the end", good + [UInt8](repeating: 0, count: Cell.bodyByteCount - good.count - 1) + [1]),
            ("extensions past the cell", head + [0xff, 0xff]), ("an extension cut off", head + [0, 3, 1, 1, 1]),
            ("an extension past its length", head + [0, 4, 0, 9, 0, 1]),
        ]
        return try await Self.refused(arena, creates)
    }

    private static let replayedCreate = Attack(
        "handshake-replayed-create",
        tries: "somebody sends a Create that he has recorded once more, and then the recorded cells",
        expects: "the answer has fresh keys, and the cells destroy the circuit; nothing is delivered twice"
    ) { arena in
        let path = [arena.routers[0], arena.routers[1]]
        return try await LoopbackServer.counting { port, tally in
            var trials = Trials()
            let router = path[0]
            let handshake = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
            let original = try await HostileCircuit.build([router], handshake: handshake)
            try await original.extend(to: path[1])
            // The cell to the last hop, as the guard saw it.
            let recorded = original.seal(CellAttacks.delivery(to: port))
            original.link.send(recorded)
            try await Wait.until("the original is delivered") {
                tally.withLockedValue { $0.byteCount } == CellAttacks.stolen.count
            }
            let link = try await HostileLink.dial(router)
            link.send(original.id, CellCommand.create.rawValue, handshake.create)
            let answer = await link.next(of: original.id)
            trials.expect(
                answer == nil || answer?[4] == CellCommand.destroy.rawValue
                    || answer.map { Array($0[5..<37]) } != original.firstCreated.map { Array($0.prefix(32)) },
                "the answer is the same")
            link.send(recorded)
            let end = await link.next(of: original.id)
            trials.expect(
                answer?[4] == CellCommand.destroy.rawValue || end?[4] == CellCommand.destroy.rawValue,
                "the recorded cells were taken")
            await link.close()
            await original.link.close()
            let seen = tally.withLockedValue { $0.byteCount }
            trials.expect(seen == CellAttacks.stolen.count, "\(seen) bytes were delivered")
            return trials.outcome("fresh keys, and no use for recorded cells")
        }
    }

    private static let downgradedCreate = Attack(
        "handshake-downgraded-create", tries: "a client offers no ML-KEM key, or one of zeros, or says classic ntor",
        expects: "a Destroy, or an answer that takes ML-KEM to be understood all the same"
    ) { arena in
        let router = arena.routers[0]
        let good = Self.create(for: router)
        let withoutKey = Array(good.prefix(98))
        let zeros = [UInt8](repeating: 0, count: 1184)
        let offers: [[UInt8]] = [withoutKey + [0, 0], withoutKey + zeros + [0, 0], [0, 0] + good[2..<98]]
        var trials = Trials()
        for (index, offer) in offers.enumerated() {
            let link = try await HostileLink.dial(router)
            link.send(0x8000_0001, CellCommand.create.rawValue, offer)
            let answer = await link.next(of: 0x8000_0001)
            await link.close()
            let isRefused = answer?[4] == CellCommand.destroy.rawValue
            let hasCiphertext = answer.map { !$0[37..<1125].allSatisfy { $0 == 0 } } ?? false
            let isMixed = answer?[4] == CellCommand.created.rawValue && hasCiphertext
            trials.expect(isRefused || isMixed && index < 2, "offer \(index) was answered otherwise")
        }
        return trials.outcome("no answer without ML-KEM")
    }

    // What a hostile OR answers.

    private typealias Answer = (name: String, make: @Sendable (_ create: [UInt8], _ created: [UInt8]) -> [UInt8])

    /// Created bodies that no client may believe.
    private static let lies: [Answer] = [
        ("no KEM part", { _, created in Array(created.prefix(32) + created.suffix(34)) }),
        (
            "a KEM part of zeros",
            { _, created in created.prefix(32) + [UInt8](repeating: 0, count: 1088) + created.suffix(34) }
        ),
        (
            "another's KEM part",
            { create, created in
                var other = created
                for index in 32..<1120 { other[index] = UInt8(truncatingIfNeeded: index &* 7) ^ create[index - 32] }
                return other
            }
        ),
        ("Y of zeros", { _, created in [UInt8](repeating: 0, count: 32) + created.dropFirst(32) }),
        ("a wrong AUTH", { _, created in created.dropLast() + [(created.last ?? 0) ^ 1] }),
        ("AUTH of zeros", { _, created in created.dropLast(32) + [UInt8](repeating: 0, count: 32) }),
        ("one bit of Y", { _, created in [created[0] ^ 1] + created.dropFirst() }),
        (
            "one bit of ct",
            { _, created in created.prefix(1119) + [created[1119] ^ 1] + created.dropFirst(1120) }
        ),
        ("bytes behind", { _, created in created + [1] }),
        ("the Create", { create, _ in create }),
        ("noise", { _, _ in SecureRandom.bytes(Cell.bodyByteCount) }),
        (
            "an extension that AUTH does not cover",
            { _, created in created.dropLast(34) + [0, 4, 0, 9, 0, 0] + created.suffix(32) }
        ),
    ]

    private static let truncatedCreated = Attack(
        "handshake-truncated-created", tries: "a hostile guard's Created, cut off in and after each field",
        expects: "thor-proxy ends the circuit; with an honest answer it serves again", needsDaemons: true
    ) { arena in
        var answers: [Answer] = []
        for (field, next) in zip(Self.createdFields, Self.createdFields.dropFirst()) {
            answers.append(("before \(field.0)", { _, created in Array(created.prefix(field.1)) }))
            answers.append(("in \(field.0)", { _, created in Array(created.prefix(next.1 - 1)) }))
        }
        return try await Self.disbelieved(arena, answers)
    }

    private static let createdToProxy = Attack(
        "handshake-downgraded-created",
        tries: "a hostile guard answers without the ML-KEM part, and with \(Self.lies.count - 1) other lies",
        expects: "thor-proxy ends the circuit; with an honest answer it serves again", needsDaemons: true
    ) { arena in
        try await Self.disbelieved(arena, Self.lies)
    }

    /// A proxy whose guard lies: nothing must come on a circuit after the lie but the Destroy that ends it.
    private static func disbelieved(_ arena: Arena, _ answers: [Answer]) async throws -> Outcome {
        try await Bait.with(arena, hostileAt: .guard) { bait, hostile in
            var trials = Trials()
            try await bait.user.checkService()
            for (index, answer) in answers.enumerated() {
                hostile.does(.cells { create, created in [(.created, answer.make(create, created))] })
                let before = hostile.tally
                // Each name needs a circuit of its own; those that are there already are used up first.
                let asking = Task {
                    for number in 0..<8 {
                        let name = "lie-\(index)-\(number)"
                        await (try? bait.user.open(port: 9, name: name, seconds: 0.2))?.close()
                    }
                }
                try await Wait.until("a circuit is begun for: \(answer.name)", seconds: 15) {
                    hostile.tally.createCount > before.createCount
                }
                // Circuits are numbered as they are created.
                let hasEnded = { hostile.tally.endedCircuits.contains(before.createCount) }
                try? await Wait.until("it is destroyed", seconds: 10) { hasEnded() }
                asking.cancel()
                await asking.value
                trials.expect(hasEnded(), "the circuit lives on: \(answer.name)")
                trials.expect(
                    hostile.tally.believedCount == before.believedCount, "believed: \(answer.name)")
            }
            hostile.does(.answer)
            try await bait.user.checkService(seconds: 40)
            return trials.outcome("none was believed; an honest answer was")
        }
    }

    private static let createdThroughHonest = Attack(
        "handshake-created-through-honest",
        tries:
            "a hostile second hop answers an honest guard's Create with what is no Created, twice, or with other cells",
        expects: "the guard ends the circuit, and passes on nothing but what a client can refuse"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        var trials = Trials()
        let relay = [UInt8](repeating: 5, count: Cell.bodyByteCount)
        typealias Made = [(command: CellCommand, body: [UInt8])]
        let deeds: [@Sendable ([UInt8], [UInt8]) -> Made] = [
            // One byte more than an Extended can carry, and the most that a Created cell can.
            { _, created in [(.created, Self.extended(created, to: RelayMessageHeader.maximumDataByteCount + 1))] },
            { _, created in [(.created, Self.extended(created, to: Cell.bodyByteCount))] },
            { _, _ in [(.created, [UInt8](repeating: 1, count: Cell.bodyByteCount))] },
            { _, created in [(.created, created + [1])] },
            { _, created in [(.created, created), (.created, created)] },
            { _, created in [(.created, created), (.relay, relay)] },
            { _, created in [(.created, created), (.relayEarly, relay)] }, { _, _ in [(.relay, relay)] },
            { _, _ in [(.relayEarly, relay)] }, { _, _ in [(.destroy, [6])] }, { _, _ in [(.create, relay)] },
            { _, _ in [(.ping, relay)] },
        ]
        for (index, deed) in deeds.enumerated() {
            hostile.does(.cells(deed))
            let circuit = try await HostileCircuit.build([arena.routers[0]])
            circuit.send([ExtendAttacks.extend(to: hostile.listing)], command: .relayEarly)
            let (messages, event) = await circuit.end()
            await circuit.link.close()
            let allowed: [RelayCommand] = [.extended, .truncated]
            trials.expect(
                messages.allSatisfy { message in allowed.contains { $0.rawValue == message.command } },
                "deed \(index): something else was passed on")
            switch event {
            case .destroyed(let reason):
                // A Destroy's reason is never passed along.
                trials.expect(reason != DestroyReason.finished.rawValue, "deed \(index): its reason was passed on")
            case .noise: trials.expect(index == 5, "deed \(index): noise was passed on")
            case .message, .linkClosed, .silence: trials.add(failure: "deed \(index): the circuit lives on (\(event))")
            }
        }
        // The largest that an Extended can carry is passed on; it is for the client to refuse.
        hostile.does(
            .cells { _, created in
                [(.created, Self.extended(created, to: RelayMessageHeader.maximumDataByteCount))]
            })
        let circuit = try await HostileCircuit.build([arena.routers[0]])
        let handshake = CircuitHandshake.Client(
            identity: hostile.listing.identity, onionKey: hostile.listing.onionKey)
        circuit.send(
            [.init(.extend, 0, hostile.listing.identity.rawBytes + handshake.create)], command: .relayEarly)
        if case .message(0, let answer) = await circuit.next() {
            trials.expect(answer.data.count == RelayMessageHeader.maximumDataByteCount, "the largest was cut")
            trials.expect((try? handshake.complete(created: answer.data)) == nil, "the client believed it")
        } else {
            trials.add(failure: "the largest was not passed on")
        }
        await circuit.link.close()
        await hostile.stop()
        return trials.outcome("the circuit ended, and nothing else was passed on")
    }

    /// A Created of exactly so many bytes: an extension is put in front of AUTH.
    private static func extended(_ created: [UInt8], to byteCount: Int) -> [UInt8] {
        let count = byteCount - created.count
        let value = count - 4
        var bytes = Array(created.dropLast(34))
        bytes += [UInt8(count >> 8), UInt8(count & 255), 0, 9, UInt8(value >> 8), UInt8(value & 255)]
        bytes += [UInt8](repeating: 1, count: value)
        return bytes + created.suffix(32)
    }

    private static let wrongLinkKey = Attack(
        "handshake-wrong-link-key",
        tries: "somebody at a listed OR's address shows another link key than the consensus names",
        expects: "an honest OR extends no circuit to it"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        var trials = Trials()
        try await hostile.shows(linkKey: Ed25519PrivateKey())
        let before = hostile.tally.createCount
        let circuit = try await HostileCircuit.build([arena.routers[2]])
        circuit.send([ExtendAttacks.extend(to: hostile.listing)], command: .relayEarly)
        trials.add(failure: await CellAttacks.lives(circuit, "extended to it", seconds: 15))
        trials.expect(hostile.tally.createCount == before, "it was sent a Create")
        await hostile.stop()
        return trials.outcome("it was sent nothing")
    }

    private static let wrongLinkKeyToProxy = Attack(
        "handshake-wrong-link-key-to-proxy",
        tries: "somebody at the address of a client's only guard shows another link key than the consensus names",
        expects: "thor-proxy sends nothing to it, and serves again once the guard is there", needsDaemons: true
    ) { arena in
        try await Bait.with(arena, hostileAt: .guard) { bait, hostile in
            var trials = Trials()
            try await bait.user.checkService()
            try await hostile.shows(linkKey: Ed25519PrivateKey())
            let before = hostile.tally
            let isServed = (try? await bait.user.open(port: 9, name: "wrong key", seconds: 5)) != nil
            trials.expect(!isServed, "a stream was opened through it")
            trials.expect(hostile.tally.acceptedCount > before.acceptedCount, "nobody has connected to it")
            trials.expect(hostile.tally.createCount == before.createCount, "it was sent a Create")
            try await hostile.shows(linkKey: hostile.linkKey)
            try await bait.user.checkService(seconds: 40)
            return trials.outcome("it was sent nothing; the guard was used again")
        }
    }
}
