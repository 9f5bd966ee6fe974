import DirectoryClient
import HostilePeers
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import OnionLink

/// Attacks on a directory server: in another's name, at another's place, with frames that are none.
enum RegistrationAttacks {
    static let all = [
        Self.anothersName, Self.anothersAddress, Self.secondIdentity, Self.forbiddenAddress, Self.time, Self.heartbeats,
        Self.frames,
    ]

    private static func connect(_ arena: Arena, linkKey: Ed25519PrivateKey?) async throws -> DirectoryConnection {
        let credentials = try linkKey.map { try LinkCredentials(linkKey: $0) }
        return try await DirectoryDialler(directoryKey: arena.network.directoryKey, credentials: credentials).connect(
            host: "\(arena.network.directory.address)", port: arena.network.directory.port,
            on: MultiThreadedEventLoopGroup.singleton.next())
    }

    /// Register; returns why that was refused, or nil.
    private static func refusal(
        _ arena: Arena, _ descriptor: SignedDescriptor, linkKey: Ed25519PrivateKey?
    ) async throws -> DirectoryErrorCode? {
        let connection = try await Self.connect(arena, linkKey: linkKey)
        do {
            _ = try await connection.register(descriptor)
            await connection.close()
            return nil
        } catch DirectoryConnectionError.refused(let code, _) {
            return code
        }
    }

    /// What the directory answered, in words.
    private static func said(_ code: DirectoryErrorCode?) -> String { code.map { "\($0)" } ?? "Registered" }

    /// See that all honest routers are still listed as they were.
    private static func checkListing(_ arena: Arena, _ trials: inout Trials) async throws {
        let consensus = try await arena.network.consensus()
        for router in arena.routers {
            let listed = consensus.router(router.identity)
            trials.expect(listed?.linkKey == router.linkKey, "\(router.nickname) is no longer listed as it was")
        }
    }

    private static let anothersName = Attack(
        "directory-register-for-another",
        tries: "an OR's own descriptor, sent over a connection that proves another link key, or none",
        expects: "refused; the OR stays listed"
    ) { arena in
        var trials = Trials()
        for linkKey in [Ed25519PrivateKey(), nil] {
            let code = try await Self.refusal(arena, arena.routers[0].descriptor, linkKey: linkKey)
            trials.expect(code == .wrongLinkKey, "answered with \(Self.said(code))")
        }
        try await Self.checkListing(arena, &trials)
        return trials.outcome("refused, the OR stays listed")
    }

    private static let anothersAddress = Attack(
        "directory-register-at-another",
        tries: "a second identity at an OR's address, with a link key of its own, and with the OR's",
        expects: "refused after the probe, or before; the OR stays listed"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        var trials = Trials()
        let victim = arena.routers[0]
        guard let place = victim.addresses.first else { throw PeerError.notListed }
        let (identity, linkKey) = (Ed25519PrivateKey(), Ed25519PrivateKey())
        var descriptor = hostile.descriptor(port: place.port)
        descriptor.identity = identity.publicKey
        descriptor.linkKey = linkKey.publicKey
        let squatting = try await Self.refusal(arena, try descriptor.signed(by: identity), linkKey: linkKey)
        trials.expect(
            squatting == .handshakeFailed || squatting == .unreachable,
            "a second identity: \(Self.said(squatting))")
        descriptor.linkKey = victim.linkKey
        let borrowed = try await Self.refusal(arena, try descriptor.signed(by: identity), linkKey: linkKey)
        trials.expect(borrowed == .wrongLinkKey, "the OR's link key: \(Self.said(borrowed))")
        // Where nobody listens at all.
        descriptor.linkKey = linkKey.publicKey
        descriptor.addresses = [Endpoint(address: .v4(0x7f00_0001), port: 1)]
        let nowhere = try await Self.refusal(arena, try descriptor.signed(by: identity), linkKey: linkKey)
        trials.expect(nowhere == .unreachable, "nowhere: \(Self.said(nowhere))")
        try await Self.checkListing(arena, &trials)
        await hostile.stop()
        return trials.outcome("refused, the OR stays listed")
    }

    private static let secondIdentity = Attack(
        "directory-register-second-identity",
        tries:
            "an OR registers a second identity where it is reached itself, with its own link key, and answers for both",
        expects: "both are listed, and ORs extend to each; no path has both, unless the network allows one subnet"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        let connection = try await Self.connect(arena, linkKey: hostile.linkKey)
        let second = try await hostile.listSecondIdentity(over: connection, in: arena.network)
        var trials = Trials()
        var extendedCount = 0
        for router in [hostile.listing, second] {
            // Once the honest one has the list.
            try? await Wait.until("it is extended to", seconds: 25) {
                guard let circuit = try? await HostileCircuit.build([arena.routers[0], router]) else { return false }
                await circuit.link.close()
                extendedCount += 1
                return true
            }
        }
        trials.expect(extendedCount == 2, "\(extendedCount) of the two are extended to")
        // As a client of a real network draws: there the honest ones are in networks of their own.
        let both = try [hostile.listing, second].map { try Self.anywhere($0.descriptor) }
        let others = try (UInt32(1)...3).map { number in
            var descriptor = hostile.descriptor(port: 9001)
            let identity = Ed25519PrivateKey()
            descriptor.identity = identity.publicKey
            descriptor.addresses = [Endpoint(address: .v4(0x0506_0708 + number << 24), port: 9001)]
            return try Self.anywhere(try descriptor.signed(by: identity))
        }
        let consensus = try ForgedConsensus(arena, parameters: NetworkParameters()).make(both + others)
        for number in 0..<1000 {
            let path = try drawPath(
                consensus: consensus, seed: SecureRandom.bytes32(), guards: [],
                constraints: PathConstraints(lastHop: .resolver))
            let count = path.count { router in both.contains { $0.identity == router.identity } }
            trials.expect(count < 2, "path \(number) has both")
        }
        await connection.close()
        await hostile.stop()
        return trials.outcome("both are listed; no path had both")
    }

    /// In every place of a path.
    private static func anywhere(_ descriptor: SignedDescriptor) throws -> ConsensusRouter {
        ConsensusRouter(descriptor: descriptor, flags: [.guard, .exit, .fast, .stable], weight: 1000)
    }

    private static let forbiddenAddress = Attack(
        "directory-register-forbidden-address",
        tries: "an address that is not on the public Internet: private, link-local, metadata, multicast, mapped",
        expects: "refused before the directory connects to it"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        var trials = Trials()
        let (identity, linkKey) = (Ed25519PrivateKey(), Ed25519PrivateKey())
        for entry in SpecialPurpose.table where !SpecialPurpose.isLoopback(entry.prefix.address) {
            var descriptor = hostile.descriptor(port: 80)
            descriptor.identity = identity.publicKey
            descriptor.linkKey = linkKey.publicKey
            descriptor.addresses = [Endpoint(address: entry.prefix.address, port: 80)]
            let code = try await Self.refusal(arena, try descriptor.signed(by: identity), linkKey: linkKey)
            trials.expect(
                code == .addressNotPublic, "\(entry.prefix): \(Self.said(code))")
        }
        await hostile.stop()
        return trials.outcome("refused")
    }

    private static let time = Attack(
        "directory-register-other-time", tries: "a descriptor of an older sequence, and one of tomorrow",
        expects: "refused"
    ) { arena in
        let hostile = try await HostileRouter(in: arena.network)
        var trials = Trials()
        let port = hostile.listing.addresses.first?.port ?? 0
        let older = try hostile.descriptor(port: port, sequence: 0).signed(by: hostile.identity)
        let stale = try await Self.refusal(arena, older, linkKey: hostile.linkKey)
        trials.expect(stale == .staleSequence, "older: \(Self.said(stale))")
        var tomorrow = hostile.descriptor(port: port, sequence: 9)
        tomorrow.published += 86_400
        let skewed = try await Self.refusal(
            arena, try tomorrow.signed(by: hostile.identity), linkKey: hostile.linkKey)
        trials.expect(skewed == .clockSkew, "tomorrow: \(Self.said(skewed))")
        await hostile.stop()
        return trials.outcome("refused")
    }

    private static let heartbeats = Attack(
        "directory-heartbeat-replayed",
        tries: "a heartbeat without a registration, and one whose counter was there before",
        expects: "the connection is closed with an error"
    ) { arena in
        var trials = Trials()
        let stranger = try await Self.connect(arena, linkKey: Ed25519PrivateKey())
        let beat = try? await stranger.heartbeat(counter: 1, load: RouterLoad())
        trials.expect(beat == nil, "a stranger's heartbeat was acknowledged")
        await stranger.close()

        let hostile = try await HostileRouter(in: arena.network)
        let port = hostile.listing.addresses.first?.port ?? 0
        for (first, second) in [(UInt64(5), UInt64(5)), (5, 4), (UInt64.max, 0)] {
            let connection = try await Self.connect(arena, linkKey: hostile.linkKey)
            let descriptor = hostile.descriptor(port: port, sequence: hostile.nextSequence())
            _ = try await connection.register(try descriptor.signed(by: hostile.identity))
            _ = try await connection.heartbeat(counter: first, load: RouterLoad())
            let replayed = try? await connection.heartbeat(counter: second, load: RouterLoad())
            trials.expect(replayed == nil, "\(second) was acknowledged after \(first)")
            await connection.close()
        }
        await hostile.stop()
        return trials.outcome("refused")
    }

    private static let frames = Attack(
        "directory-frames",
        tries: "frames of hostile length, of unknown type, for the other side, cut off; 5,000 requests at once",
        expects: "the connection is closed"
    ) { arena in
        let frames: [[UInt8]] = [
            [0xff, 0xff, 0xff, 0xff, 2], [0x7f, 0xff, 0xff, 0xff, 7], [0, 0, 0, 0, 0], [0, 0, 0, 0, 200],
            [0, 0, 0, 0, 2], [0, 0, 0, 4, 2, 1, 2, 3, 4], [0, 0, 0, 9, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 7, 6, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 31, 9] + [UInt8](repeating: 1, count: 31),
            [0, 0, 0, 24, 4] + [UInt8](repeating: 0xff, count: 24),
            [0, 0, 0, 8, 8] + [UInt8](repeating: 1, count: 8),
            [0, 0, 0, 8, 6] + [UInt8](repeating: 0xff, count: 8) + [0, 0, 0, 8, 6] + [UInt8](repeating: 0, count: 8),
            Array(repeatElement([0, 0, 0, 32, 9] + [UInt8](repeating: 1, count: 32), count: 5000).joined()),
        ]
        return try await repeatedly(frames.count) { index in
            let peer = try await DirectoryPeer.connect(to: arena.network.directory)
            peer.send(frames[index])
            try? await Wait.until("the connection is closed") { peer.isClosed }
            let isClosed = peer.isClosed
            await peer.close()
            return isClosed ? nil : "frame \(index): the connection is open"
        }.outcome("the connection was closed")
    }
}
