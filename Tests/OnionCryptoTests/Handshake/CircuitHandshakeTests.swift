import OnionCrypto
import Testing

/// A router as the tests need it.
struct TestRouter {
    let identity = Ed25519PrivateKey().publicKey
    let onionKey = X25519PrivateKey()

    var server: CircuitHandshake.Server { .init(identity: self.identity, onionKeys: [self.onionKey]) }
    var client: CircuitHandshake.Client { .init(identity: self.identity, onionKey: self.onionKey.publicKey) }
}

func keyBytes(_ keys: CircuitKeys) -> [UInt8] {
    keys.withForwardKeys { [UInt8]($0) } + keys.withBackwardKeys { [UInt8]($0) }
}

func bytes(_ text: String) throws -> [UInt8] { try #require(unhex(text)) }

func privateKey(_ text: String) throws -> X25519PrivateKey {
    let seed = try bytes(text)
    return try #require(X25519PrivateKey(seed: seed))
}

func publicKey(_ text: String) throws -> X25519PublicKey {
    let raw = try bytes(text)
    return try #require(X25519PublicKey(rawBytes: raw))
}

@Suite("Circuit handshake")
struct CircuitHandshakeTests {
    private let router = TestRouter()

    @Test("both ends come to the same keys, others each time")
    func roundTrip() throws {
        var seen: Set<[UInt8]> = []
        for _ in 0..<4 {
            let client = self.router.client
            #expect(client.create.count == CircuitHandshake.createByteCount)
            let (created, serverKeys) = try self.router.server.respond(to: client.create)
            #expect(created.count == CircuitHandshake.createdByteCount)
            let keys = keyBytes(try client.complete(created: created))
            #expect(keys.count == 160)
            #expect(keys == keyBytes(serverKeys))
            #expect(Set(stride(from: 0, to: 160, by: 16).map { Array(keys[$0..<$0 + 16]) }).count == 10)
            #expect(seen.insert(keys).inserted)
        }
    }

    @Test("has the lengths of the design, and room in one cell")
    func lengths() {
        #expect(CircuitHandshake.createByteCount == 1284)
        #expect(CircuitHandshake.createdByteCount == 1154)
    }

    @Test("accepts the onion key before this one")
    func previousKey() throws {
        let server = CircuitHandshake.Server(
            identity: self.router.identity, onionKeys: [X25519PrivateKey(), self.router.onionKey])
        let client = self.router.client
        let (created, keys) = try server.respond(to: client.create)
        #expect(keyBytes(try client.complete(created: created)) == keyBytes(keys))
    }

    @Test("finds the end of a handshake in a cell's body")
    func prefixLengths() throws {
        let client = self.router.client
        let (created, _) = try self.router.server.respond(to: client.create)
        let padding = [UInt8](repeating: 0, count: 700)
        #expect(try CircuitHandshake.createByteCount(prefixOf: client.create + padding) == 1284)
        #expect(try CircuitHandshake.createdByteCount(prefixOf: created + padding) == 1154)
        var extended = client.create + padding
        extended.replaceSubrange(1282..<1284, with: [0x02, 0xBC])
        #expect(try CircuitHandshake.createByteCount(prefixOf: extended) == 1284 + 700)
        #expect(throws: HandshakeError.malformed) {
            try CircuitHandshake.createByteCount(prefixOf: extended.dropLast())
        }
        // A slice's indices do not begin at zero.
        #expect(try CircuitHandshake.createByteCount(prefixOf: ([1, 2, 3] + extended)[3...]) == 1284 + 700)
    }

    @Test("many threads may use one server at once")
    func concurrency() async throws {
        let (router, server) = (self.router, self.router.server)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<32 {
                group.addTask {
                    let client = router.client
                    let (created, keys) = try server.respond(to: client.create)
                    return keyBytes(try client.complete(created: created)) == keyBytes(keys)
                }
            }
            for try await isSame in group { #expect(isSame) }
        }
    }
}
