import NIOConcurrencyHelpers
import OnionCrypto

@testable import OnionRouter

/// Handshakes of one OR with one client, made once: fresh ones would take nearly all of an input's time. Within a run each is
/// used once, so that no two circuits have the same keys; and the same run uses the same ones.
struct HandshakePool: Sendable {
    private let client: CircuitHandshake.Client
    private let server: CircuitHandshake.Server
    private let made: [HandshakeService.Answer]
    private let keys: [[UInt8]: CircuitKeys]

    /// More than most runs have circuits.
    private static let count = 48

    init(identity: Ed25519PublicKey, onionKey: X25519PrivateKey) throws {
        let client = CircuitHandshake.Client(identity: identity, onionKey: onionKey.publicKey)
        let server = CircuitHandshake.Server(identity: identity, onionKeys: [onionKey])
        self.client = client
        self.server = server
        self.made = try (0..<Self.count).map { _ in try server.respond(to: client.create) }
        self.keys = try Dictionary(
            uniqueKeysWithValues: self.made.map { ($0.created, try client.complete(created: $0.created)) })
    }

    /// The client's Create, which serves for every circuit.
    var create: [UInt8] { self.client.create }

    /// What the OR answers in one run.
    func makeResponder() -> HandshakeService.Responder {
        let usedCount = NIOLockedValueBox(0)
        return { create in
            guard create == self.client.create else { return try? self.server.respond(to: create) }
            let number = usedCount.withLockedValue { count in
                count += 1
                return count - 1
            }
            return number < self.made.count ? self.made[number] : try? self.server.respond(to: create)
        }
    }

    /// What the client makes of an answer; nil if it does not believe it.
    func complete(_ created: [UInt8]) -> CircuitKeys? {
        self.keys[created] ?? (try? self.client.complete(created: created))
    }
}
