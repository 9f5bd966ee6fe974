import Foundation
@_spi(Testing) import OnionCrypto
import Testing

/// Runs the published vectors of Counter Galois Onion (bodies of 509 bytes) and our own (2043 bytes) with every
/// implementation that the machine can run. Each file names its origin.
@Suite("Layer cipher vectors")
struct CipherVectorTests {
    @Test("the files hold what we think they hold")
    func files() throws {
        let published = try Vectors.load(bodyByteCount: 509)
        #expect(published.count == 44)
        #expect(published.tweakable_block_cipher?.count == 4 && published.prf?.count == 10)
        let ours = try Vectors.load(bodyByteCount: 2043)
        #expect(ours.count == 14)
        #expect(ours.client_backward?.count == 2)
    }

    @Test("tweakable block cipher", arguments: CipherImplementation.available, [509, 2043])
    func tweakableBlockCipher(implementation: CipherImplementation, bodyByteCount: Int) throws {
        for vector in try Vectors.load(bodyByteCount: bodyByteCount).tweakable_block_cipher ?? [] {
            let tweak = vector.tweak.bytes
            let xr = Array(tweak[17...])
            let keys = vector.keys.bytes + [UInt8](repeating: 0, count: 32)
            let cipher = try HopCipher.make(implementation, keys: keys, lastTag: Array(tweak[..<16]))
            var body = vector.block.bytes + xr
            if vector.encrypt {
                body.asBody { cipher.encryptBody(command: tweak[16], body: &$0) }
            } else {
                // UIV.dec decrypts X_R first: give it what becomes the X_R of the tweak.
                var stream = vector.block.bytes + [UInt8](repeating: 0, count: xr.count)
                stream.asBody { cipher.decryptBody(command: 0, body: &$0) }
                body = vector.block.bytes + (xr ^ Array(stream[16...]))
                body.asBody { cipher.decryptBody(command: tweak[16], body: &$0) }
                #expect(Array(body[16...]) == xr, "\(vector.name)")
            }
            #expect(Array(body[..<16]) == vector.expect.bytes, "\(vector.name)")
        }
    }

    @Test("PRF", arguments: CipherImplementation.available, [509, 2043])
    func prf(implementation: CipherImplementation, bodyByteCount: Int) throws {
        for vector in try Vectors.load(bodyByteCount: bodyByteCount).prf ?? [] {
            let keys = [UInt8](repeating: 0, count: 32) + vector.keys.bytes
            let cipher = try HopCipher.make(implementation, keys: keys, nonce: vector.input.bytes)
            if vector.t == 0 {
                var body = vector.input.bytes + [UInt8](repeating: 0, count: bodyByteCount - 16)
                body.asBody { cipher.decryptBody(command: 0, body: &$0) }
                #expect(Array(body[16...]) == vector.expect.bytes, "\(vector.name)")
            } else {
                cipher.updateKeys(bodyByteCount: bodyByteCount)
                #expect(cipher.stateBytes.keys == vector.expect.bytes, "\(vector.name)")
            }
        }
    }

    @Test("wide-block cipher", arguments: CipherImplementation.available, [509, 2043])
    func uiv(implementation: CipherImplementation, bodyByteCount: Int) throws {
        for vector in try #require(try Vectors.load(bodyByteCount: bodyByteCount).uiv) {
            let tweak = vector.tweak.bytes
            let cipher = try HopCipher.make(implementation, keys: vector.keys.bytes, lastTag: Array(tweak[..<16]))
            var body = vector.x_l.bytes + vector.x_r.bytes
            let decrypted = body
            body.asBody {
                if vector.encrypt {
                    cipher.encryptBody(command: tweak[16], body: &$0)
                } else {
                    cipher.decryptBody(command: tweak[16], body: &$0)
                }
            }
            #expect(body == vector.y_l.bytes + vector.y_r.bytes, "\(vector.name)")
            body.asBody {
                if vector.encrypt {
                    cipher.decryptBody(command: tweak[16], body: &$0)
                } else {
                    cipher.encryptBody(command: tweak[16], body: &$0)
                }
            }
            #expect(body == decrypted, "\(vector.name), and back")
        }
    }

    @Test("key update", arguments: CipherImplementation.available, [509, 2043])
    func update(implementation: CipherImplementation, bodyByteCount: Int) throws {
        for vector in try #require(try Vectors.load(bodyByteCount: bodyByteCount).uiv_update) {
            let cipher = try HopCipher.make(implementation, keys: vector.keys.bytes, nonce: vector.nonce.bytes)
            cipher.updateKeys(bodyByteCount: bodyByteCount)
            #expect(cipher.stateBytes.keys == vector.new_keys.bytes + vector.new_nonce.bytes, "\(vector.name)")
        }
    }

    @Test("cell at a router", arguments: CipherImplementation.available, [509, 2043])
    func relayProcess(implementation: CipherImplementation, bodyByteCount: Int) throws {
        for vector in try #require(try Vectors.load(bodyByteCount: bodyByteCount).relay_process) {
            let cipher = try vector.state.makeCipher(implementation)
            var body = vector.tag.bytes + vector.body.bytes
            if vector.backward {
                body.asBody { cipher.backward(command: vector.command.bytes[0], body: &$0) }
            } else {
                let tag = body.asBody { cipher.forward(command: vector.command.bytes[0], body: &$0) }
                // The state says whether the cell was for this hop: only then have the keys changed.
                let isRecognised = vector.expect.state.keys != vector.state.keys
                #expect(tag?.bytes == (isRecognised ? vector.tag.bytes : nil), "\(vector.name)")
            }
            #expect(body == vector.expect.tag.bytes + vector.expect.body.bytes, "\(vector.name)")
            try vector.expect.state.check(cipher, vector.name)
        }
    }

    @Test("cell of a router's own", arguments: CipherImplementation.available, [509, 2043])
    func relayOriginate(implementation: CipherImplementation, bodyByteCount: Int) throws {
        for vector in try #require(try Vectors.load(bodyByteCount: bodyByteCount).relay_originate) {
            let cipher = try vector.state.makeCipher(implementation)
            var body = [UInt8](repeating: 0xaa, count: 16) + vector.body.bytes
            let tag = body.asBody { cipher.originate(command: vector.command.bytes[0], body: &$0) }
            #expect(tag.bytes == vector.expect.tag.bytes, "\(vector.name)")
            #expect(body == vector.expect.tag.bytes + vector.expect.body.bytes, "\(vector.name)")
            try vector.expect.state.check(cipher, vector.name)
        }
    }

    @Test("cell of the client's own", arguments: CipherImplementation.available, [509, 2043])
    func clientOriginate(implementation: CipherImplementation, bodyByteCount: Int) throws {
        for vector in try #require(try Vectors.load(bodyByteCount: bodyByteCount).client_originate) {
            let hops = try vector.states.map { try $0.makeCipher(implementation) }
            var body = [UInt8](repeating: 0xaa, count: 16) + vector.body.bytes
            let tag = body.asBody {
                ClientCipher.originate(
                    hops, target: vector.target_hop - 1, command: vector.command.bytes[0], body: &$0)
            }
            if let sendMeTag = vector.expect.sendme_tag { #expect(tag.bytes == sendMeTag.bytes, "\(vector.name)") }
            #expect(body == vector.expect.tag.bytes + vector.expect.body.bytes, "\(vector.name)")
            for (hop, state) in zip(hops, vector.expect.states) { try state.check(hop, vector.name) }
        }
    }

    @Test("cell that arrives at the client", arguments: CipherImplementation.available)
    func clientBackward(implementation: CipherImplementation) throws {
        for vector in try #require(try Vectors.load(bodyByteCount: 2043).client_backward) {
            let hops = try vector.states.map { try $0.makeCipher(implementation) }
            var body = vector.tag.bytes + vector.body.bytes
            let origin = body.asBody { ClientCipher.backward(hops, command: vector.command.bytes[0], body: &$0) }
            #expect(origin?.hop == vector.expect.from_hop - 1, "\(vector.name)")
            #expect(origin?.tag.bytes == vector.expect.sendme_tag.bytes, "\(vector.name)")
            #expect(Array(body[16...]) == vector.expect.body.bytes, "\(vector.name)")
            for (hop, state) in zip(hops, vector.expect.states) { try state.check(hop, vector.name) }
        }
    }
}

/// The shape of the vector files; names as there.
private struct Vectors: Decodable {
    struct State: Decodable {
        let keys, nonce, tprime: Hex

        func makeCipher(_ implementation: CipherImplementation) throws -> HopCipher {
            try HopCipher.make(
                implementation, keys: self.keys.bytes, nonce: self.nonce.bytes, lastTag: self.tprime.bytes)
        }

        func check(_ cipher: HopCipher, _ name: String) throws {
            #expect(cipher.stateBytes.keys == self.keys.bytes + self.nonce.bytes, "\(name)")
            #expect(cipher.stateBytes.lastTag == self.tprime.bytes, "\(name)")
        }
    }

    struct TweakableBlockCipher: Decodable {
        let name: String, encrypt: Bool, keys, tweak, block, expect: Hex
    }

    struct PRF: Decodable {
        let name: String, keys, input, expect: Hex, t: Int
    }

    struct UIV: Decodable {
        let name: String, encrypt: Bool, keys, tweak, x_l, x_r, y_l, y_r: Hex
    }

    struct Update: Decodable {
        let name: String, keys, nonce, new_keys, new_nonce: Hex
    }

    struct RelayProcess: Decodable {
        struct Expect: Decodable { let state: State, tag, body: Hex }
        let name: String, backward: Bool, state: State, command, tag, body: Hex, expect: Expect
    }

    struct RelayOriginate: Decodable {
        let name: String, state: State, command, body: Hex, expect: RelayProcess.Expect
    }

    struct ClientOriginate: Decodable {
        struct Expect: Decodable { let states: [State], tag, body: Hex, sendme_tag: Hex? }
        let name: String, states: [State], target_hop: Int, command, body: Hex, expect: Expect
    }

    struct ClientBackward: Decodable {
        struct Expect: Decodable { let states: [State], from_hop: Int, body, sendme_tag: Hex }
        let name: String, states: [State], command, tag, body: Hex, expect: Expect
    }

    private struct File: Decodable { let vectors: Vectors }

    let tweakable_block_cipher: [TweakableBlockCipher]?
    let prf: [PRF]?
    let uiv: [UIV]?
    let uiv_update: [Update]?
    let relay_process: [RelayProcess]?
    let relay_originate: [RelayOriginate]?
    let client_originate: [ClientOriginate]?
    let client_backward: [ClientBackward]?

    var count: Int {
        let counts = [
            self.tweakable_block_cipher?.count, self.prf?.count, self.uiv?.count, self.uiv_update?.count,
            self.relay_process?.count, self.relay_originate?.count, self.client_originate?.count,
            self.client_backward?.count,
        ]
        return counts.reduce(0) { $0 + ($1 ?? 0) }
    }

    static func load(bodyByteCount: Int) throws -> Vectors {
        let name = bodyByteCount == 509 ? "cgo-aes128" : "cgo-aes128-\(bodyByteCount)"
        let url = try #require(
            Bundle.module.url(forResource: name, withExtension: "json", subdirectory: "Vectors"))
        return try JSONDecoder().decode(File.self, from: Data(contentsOf: url)).vectors
    }
}
