import Foundation
import HostilePeers
import NIOConcurrencyHelpers
import OnionAddress
import OnionCrypto
import OnionDirectory
import ThorTestnet

/// A real thor-proxy whose directory is ours: we hold the directory key, and list exactly three routers, so that every
/// circuit of its streams goes over them in the order that we choose. Between the two lies the network under attack.
struct Bait: Sendable {
    let user: HonestUser

    /// Start it, wait until it has a circuit, let `body` use it, stop it.
    ///
    /// - Parameter path: guard, middle, exit.
    /// - Throws: ``Crash`` if it has ended by itself.
    static func with<R>(
        _ arena: Arena, path: [ConsensusRouter], _ body: (Bait) async throws -> R
    ) async throws -> R {
        let starter = try arena.needDaemons()
        let consensus = try ForgedConsensus(arena).along(path)
        let directory = try await HostileDirectory(
            key: arena.directorySecret, ForgedConsensus.serving(consensus, key: arena.directorySecret))
        do {
            let daemon = try starter.start(
                .proxy,
                [
                    "\(directory.endpoint)", try starter.writeKey(arena.network.directoryKey), "--listen",
                    "127.0.0.1:0",
                ])
            let result = try await starter.using(daemon) {
                try await body(Bait(user: HonestUser(proxy: try await daemon.ready())))
            }
            await directory.stop()
            return result
        } catch {
            await directory.stop()
            throw error
        }
    }

    /// The same with a hostile OR in one place of the path, which stops when `body` does, however that ends.
    static func with<R>(
        _ arena: Arena, hostileAt position: CellAttacks.Position, exitPolicy: ExitPolicy = .rejectAll,
        _ body: (Bait, HostileRouter) async throws -> R
    ) async throws -> R {
        let hostile = try await HostileRouter(in: arena.network, exitPolicy: exitPolicy)
        do {
            let path = position.path(hostile.listing, among: arena.routers)
            let result = try await Self.with(arena, path: path) { bait in try await body(bait, hostile) }
            await hostile.stop()
            return result
        } catch {
            await hostile.stop()
            throw error
        }
    }
}

/// Makes consensuses that the directory has never signed, with its key.
struct ForgedConsensus {
    private let key: Ed25519PrivateKey
    private let parameters: NetworkParameters
    private let now = UInt64(Date().timeIntervalSince1970)

    /// - Parameter parameters: as the network under attack has them, if not said.
    init(_ arena: Arena, parameters: NetworkParameters = AttackedParameters.all) throws {
        self.key = arena.directorySecret
        self.parameters = parameters
    }

    /// Its revision is above all that the true directory will sign in the next days.
    var revision: UInt64 { (self.now + 1_000_000) * 1000 }

    func make(
        _ routers: [ConsensusRouter], revision: UInt64? = nil, age: UInt64 = 0, ahead: UInt64 = 0,
        lifetime: UInt64 = 10_800, key: Ed25519PrivateKey? = nil
    ) throws -> Consensus {
        let validAfter = self.now - age + ahead
        return try Consensus.make(
            revision: revision ?? self.revision, validAfter: validAfter, freshUntil: validAfter + lifetime / 3,
            validUntil: validAfter + lifetime, parameters: self.parameters, routers: routers,
            signedBy: key ?? self.key)
    }

    /// The first is the only guard, the last the only exit.
    func along(_ path: [ConsensusRouter]) throws -> Consensus {
        try self.make(
            path.enumerated().map { index, router in
                let flags: RouterFlags = index == 0 ? [.guard, .fast, .stable] : index == path.count - 1 ? .exit : []
                return ConsensusRouter(descriptor: router.descriptor, flags: flags, weight: 1000)
            })
    }

    /// What a directory does that has this consensus, and tickets for everybody.
    static func serving(_ consensus: Consensus, key: Ed25519PrivateKey) -> HostileDirectory.Habit {
        { message, _ in Self.answer(message, consensus, key) }
    }

    static func answer(
        _ message: DirectoryMessage, _ consensus: Consensus, _ key: Ed25519PrivateKey
    ) -> [HostileDirectory.Reply] {
        switch message {
        case .getTicket(let commitment):
            let expires = UInt64(Date().timeIntervalSince1970) + 86_400
            guard
                let ticket = try? PathTicket.make(
                    commitment: commitment, salt: SecureRandom.bytes32(), expires: expires, signedBy: key)
            else { return [.close] }
            return [.message(.ticket(ticket.bytes))]
        case .getConsensus(let revision):
            // Who has it already is left waiting.
            return revision < consensus.revision ? [.message(.consensus(consensus.bytes))] : []
        case .register(let bytes):
            guard let descriptor = try? SignedDescriptor(verifying: bytes) else { return [.close] }
            return [
                .message(.registered(sequence: descriptor.descriptor.sequence, revision: consensus.revision))
            ]
        case .heartbeat(let counter, _):
            return [.message(.heartbeatAck(counter: counter, revision: consensus.revision))]
        case .hello, .registered, .heartbeatAck, .consensus, .notModified, .ticket, .error: return [.close]
        }
    }
}

extension DaemonStarter {
    /// Write a public key to a file of its own.
    func writeKey(_ key: Ed25519PublicKey) throws -> String {
        let path = self.freshPath("directory.pub")
        try KeyFile.writePublic(key, to: path)
        return path
    }

    /// Write a private key to a file of its own.
    func writeSecret(_ key: Ed25519PrivateKey) throws -> String {
        let path = self.freshPath("router.key")
        try KeyFile.writePrivate(key, to: path, passphrase: nil, overwrite: false)
        return path
    }
}
