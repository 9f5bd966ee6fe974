import Testing

@testable import OnionCrypto

@Suite("Circuit handshake refusals")
struct CircuitHandshakeRejectionTests {
    private let router = TestRouter()
    private let client: CircuitHandshake.Client
    private let created: [UInt8]

    init() throws {
        self.client = self.router.client
        self.created = try self.router.server.respond(to: self.client.create).created
    }

    private func serverError(_ create: [UInt8]) -> HandshakeError? {
        do throws(HandshakeError) { _ = try self.router.server.respond(to: create) } catch { return error }
        return nil
    }

    private func clientError(_ created: [UInt8]) -> HandshakeError? {
        do throws(HandshakeError) { _ = try self.client.complete(created: created) } catch { return error }
        return nil
    }

    // Points of small order, and those that a sloppy reduction takes for them: RFC 7748 §6.1, cr.yp.to/ecdh.html.
    static let smallOrderPoints = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]

    @Test("a Created with more than it says is malformed, though what is more were an extension")
    func longerCreated() {
        let longer = self.created.dropLast(32) + [0, 0, 0, 0] + self.created.suffix(32)
        #expect(self.clientError(Array(longer)) == .malformed)
    }

    @Test("chosen secrets of another length are refused", arguments: [(1087, 32), (1089, 32), (1088, 31), (1088, 33)])
    func chosenSecrets(ciphertextByteCount: Int, secretByteCount: Int) {
        #expect(throws: HandshakeError.malformed) {
            try self.router.server.respond(
                to: self.client.create, ephemeral: X25519PrivateKey(),
                ciphertext: [UInt8](repeating: 1, count: ciphertextByteCount),
                kemSecret: [UInt8](repeating: 1, count: secretByteCount))
        }
    }

    @Test("a router refuses another identity and another onion key")
    func wrongKeys() {
        let onionKey = self.router.onionKey.publicKey
        let otherIdentity = CircuitHandshake.Client(identity: Ed25519PrivateKey().publicKey, onionKey: onionKey)
        #expect(self.serverError(otherIdentity.create) == .rejected)
        let otherKey = CircuitHandshake.Client(
            identity: self.router.identity, onionKey: X25519PrivateKey().publicKey)
        #expect(self.serverError(otherKey.create) == .rejected)
        let noKeys = CircuitHandshake.Server(identity: self.router.identity, onionKeys: [])
        #expect(throws: HandshakeError.rejected) { try noKeys.respond(to: self.client.create) }
    }

    @Test("a client refuses a router that has not the onion key it claims")
    func impostor() throws {
        // The impostor has a key of its own, puts it into the Create, answers, and hopes.
        let impostor = X25519PrivateKey()
        var create = self.client.create
        create.replaceSubrange(34..<66, with: impostor.publicKey.rawBytes)
        let server = CircuitHandshake.Server(identity: self.router.identity, onionKeys: [impostor])
        let answer = try server.respond(to: create).created
        #expect(self.clientError(answer) == .rejected)
    }

    @Test("a client refuses the answer to another Create")
    func otherAnswer() throws {
        let answer = try self.router.server.respond(to: self.router.client.create).created
        #expect(self.clientError(answer) == .rejected)
    }

    @Test("an X25519 result of zero is refused at both ends", arguments: smallOrderPoints)
    func smallOrder(point: String) throws {
        let bytes = try bytes(point)
        var create = self.client.create
        create.replaceSubrange(66..<98, with: bytes)
        #expect(self.serverError(create) == .rejected)
        var created = self.created
        created.replaceSubrange(0..<32, with: bytes)
        #expect(self.clientError(created) == .rejected)
    }

    @Test("a client refuses zero even when AUTH is right for it", arguments: smallOrderPoints, [true, false])
    func smallOrderWithGoodAuth(point: String, isOnionKey: Bool) throws {
        // Whoever puts such a point in knows the result, so AUTH can be made for it: nothing but the check refuses it.
        let vector = try #require(CircuitHandshakeVectorTests.vectors.first)
        let zeroKey = try publicKey(point)
        let ephemeral = try privateKey(vector.x)
        let onionKey = try privateKey(vector.b)
        let client = try CircuitHandshake.Client(
            identity: self.router.identity, onionKey: isOnionKey ? zeroKey : onionKey.publicKey, ephemeral: ephemeral,
            kemSeed: bytes(vector.kemSeed))
        let serverKey = isOnionKey ? try privateKey(vector.y).publicKey : zeroKey
        let withoutAuth = try serverKey.rawBytes + bytes(vector.ct) + [0, 0]
        let kemSecret = try bytes(vector.ss)
        var agreed: [Bool] = []
        let shared = SecretMemory(byteCount: 96, protection: .plain) { target in
            agreed.append(ephemeral.agree(with: serverKey, into: .init(rebasing: target[0..<32])))
            agreed.append(
                ephemeral.agree(
                    with: isOnionKey ? zeroKey : onionKey.publicKey, into: .init(rebasing: target[32..<64])))
            UnsafeMutableRawBufferPointer(rebasing: target[64...]).copyBytes(from: kemSecret)
        }
        #expect(agreed == [isOnionKey, !isOnionKey])
        let (auth, _) = CircuitHandshake.derive(
            shared: shared, create: client.create, createdWithoutAuth: withoutAuth[...])
        #expect(throws: HandshakeError.rejected) { try client.complete(created: withoutAuth + auth.bytes) }
    }

    @Test("a flipped bit in any byte of a Create: the router refuses, or the client does")
    func flippedCreate() {
        for index in self.client.create.indices {
            var create = self.client.create
            create[index] ^= 1 << (index % 8)
            do {
                let answer = try self.router.server.respond(to: create).created
                #expect(self.clientError(answer) == .rejected, "byte \(index)")
                #expect((66..<1282).contains(index), "only X and ek may reach the answer, not byte \(index)")
            } catch {
                let isForm = index < 2 || index >= 1282
                #expect(error == (isForm ? .malformed : .rejected), "byte \(index)")
            }
        }
    }

    @Test("a flipped bit in any byte of a Created is refused")
    func flippedCreated() {
        for index in self.created.indices {
            var created = self.created
            created[index] ^= 1 << (index % 8)
            let isForm = (1120..<1122).contains(index)
            #expect(self.clientError(created) == (isForm ? .malformed : .rejected), "byte \(index)")
        }
    }

    @Test("an encapsulation key that is not reduced is refused")
    func badEncapsulationKey() {
        var create = self.client.create
        create.replaceSubrange(98..<1282, with: [UInt8](repeating: 0xFF, count: 1184))
        #expect(self.serverError(create) == .rejected)
    }

    @Test("truncated anywhere, both are refused as malformed")
    func truncated() {
        for count in self.client.create.indices {
            #expect(self.serverError(Array(self.client.create.prefix(count))) == .malformed, "\(count) bytes")
        }
        for count in self.created.indices {
            #expect(self.clientError(Array(self.created.prefix(count))) == .malformed, "\(count) bytes")
        }
    }

    @Test("bytes behind either are refused", arguments: [1, 2, 3, 4, 100, 759])
    func trailing(count: Int) {
        let more = [UInt8](repeating: 0, count: count)
        #expect(self.serverError(self.client.create + more) == .malformed)
        #expect(self.clientError(self.created + more) == .malformed)
    }

    @Test("an unknown type is refused", arguments: [[0, 0], [0, 2], [1, 1], [1, 0], [255, 255]])
    func type(bytes: [UInt8]) {
        #expect(self.serverError(bytes + self.client.create.dropFirst(2)) == .malformed)
    }

    static let badExtensions: [[UInt8]] = [
        [0], [0, 1], [0, 1, 0], [0, 1, 0, 1], [0, 1, 0, 2, 9], [0, 1, 0xFF, 0xFF, 9], [0, 1, 0, 0, 0],
        [0, 1, 0, 1, 9, 0, 2, 0],
    ]

    @Test("extensions that do not fill their length exactly are refused", arguments: badExtensions)
    func extensions(bytes: [UInt8]) {
        let field = [0, UInt8(bytes.count)] + bytes
        #expect(self.serverError(self.client.create.dropLast(2) + field) == .malformed)
        #expect(self.clientError(self.created[..<1120] + field + self.created[1122...]) == .malformed)
    }

    @Test("an extension added on the way is seen: it is part of the transcript")
    func addedExtension() throws {
        let field: [UInt8] = [0, 5, 0, 9, 0, 1, 42]
        let answer = try self.router.server.respond(to: self.client.create.dropLast(2) + field).created
        #expect(self.clientError(answer) == .rejected)
        #expect(self.clientError(self.created[..<1120] + field + self.created[1122...]) == .rejected)
    }

    @Test("noise of any length is refused and never traps", arguments: 0..<50)
    func noise(round: Int) {
        var noise = SecureRandom.bytes(round * 53)
        #expect(self.serverError(noise) != nil)
        #expect(self.clientError(noise) != nil)
        if noise.count >= 2 { noise.replaceSubrange(0..<2, with: [0, 1]) }
        #expect(self.serverError(noise) != nil)
    }
}
