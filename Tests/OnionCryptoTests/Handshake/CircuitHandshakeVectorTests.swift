import Foundation
import OnionCrypto
import Testing

/// Runs Vectors/handshake.json, made by the independent Vectors/make_handshake_vectors.py.
///
/// The client is run whole. The router is run with the vector's y, ciphertext and ML-KEM secret, since swift-crypto takes
/// no randomness for encapsulation; the code behind is the same.
@Suite("Circuit handshake vectors")
struct CircuitHandshakeVectorTests {
    struct Vector: Decodable, Sendable, CustomTestStringConvertible {
        let name, idSeed, ID, b, B, x, X, kemSeed, y, Y, ct, ss, create, created, keys: String
        let createExtensions, createdExtensions: String
        var testDescription: String { self.name }
    }
    private struct File: Decodable { let vectors: [Vector] }

    static let vectors: [Vector] = {
        guard let url = Bundle.module.url(forResource: "handshake", withExtension: "json", subdirectory: "Vectors"),
            let data = try? Data(contentsOf: url), let file = try? JSONDecoder().decode(File.self, from: data)
        else { return [] }
        return file.vectors
    }()

    private func identity(_ vector: Vector) throws -> Ed25519PublicKey {
        let seed = try bytes(vector.idSeed)
        return try #require(Ed25519PrivateKey(seed: seed)).publicKey
    }

    @Test("the file is there, with each kind of vector")
    func present() {
        #expect(Self.vectors.count == 4)
        #expect(Self.vectors.contains { !$0.createExtensions.isEmpty })
        #expect(Self.vectors.contains { !$0.createdExtensions.isEmpty })
    }

    @Test("the public keys are the vector's", arguments: vectors)
    func publicKeys(vector: Vector) throws {
        #expect(hex(try self.identity(vector).rawBytes) == vector.ID)
        for (seed, publicKey) in [(vector.b, vector.B), (vector.x, vector.X), (vector.y, vector.Y)] {
            #expect(hex(try privateKey(seed).publicKey.rawBytes) == publicKey)
        }
    }

    @Test(
        "the client makes the vector's Create and derives its keys",
        arguments: vectors.filter(\.createExtensions.isEmpty))
    func client(vector: Vector) throws {
        let client = try CircuitHandshake.Client(
            identity: self.identity(vector),
            onionKey: try publicKey(vector.B),
            ephemeral: try privateKey(vector.x),
            kemSeed: try bytes(vector.kemSeed))
        #expect(hex(client.create) == vector.create)
        #expect(hex(keyBytes(try client.complete(created: try bytes(vector.created)))) == vector.keys)
    }

    @Test("the router makes the vector's Created and its keys", arguments: vectors.filter(\.createdExtensions.isEmpty))
    func server(vector: Vector) throws {
        let server = CircuitHandshake.Server(
            identity: try self.identity(vector),
            onionKeys: [try privateKey(vector.b)])
        let (created, keys) = try server.respond(
            to: try bytes(vector.create),
            ephemeral: try privateKey(vector.y),
            ciphertext: try bytes(vector.ct), kemSecret: try bytes(vector.ss))
        #expect(hex(created) == vector.created)
        #expect(hex(keyBytes(keys)) == vector.keys)
    }
}
