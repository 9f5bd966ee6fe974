@_spi(Testing) import OnionCrypto
import TestSupport
import Testing

/// Compares the implementations with the standards and with each other.
@Suite("Layer cipher implementations")
struct CipherImplementationTests {
    private static let zeros = [UInt8](repeating: 0, count: 16)

    @Test("the portable one is always there, and the best one is available")
    func available() {
        #expect(CipherImplementation.available.map(\.description).first == "portable")
        #expect(CipherImplementation.available.contains(.best))
    }

    /// With K_U = 0 the mask is zero, and the tag goes through plain AES.
    @Test("AES-128 of FIPS-197", arguments: CipherImplementation.available)
    func aes(implementation: CipherImplementation) throws {
        let answers = [  // appendix B and appendix C.1: key, plaintext, ciphertext
            (
                "2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734",
                "3925841d02dc09fbdc118597196a0b32"
            ),
            (
                "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff",
                "69c4e0d86a7b0430d8cdb78070b4c55a"
            ),
        ]
        for (key, plaintext, ciphertext) in answers {
            let keys = try #require([UInt8](hex: key)) + Self.zeros + Self.zeros + Self.zeros
            let cipher = try HopCipher.make(implementation, keys: keys)
            let plain = try #require([UInt8](hex: plaintext)), encrypted = try #require([UInt8](hex: ciphertext))
            var body = plain + [1, 2, 3]
            body.asBody { cipher.encryptBody(command: 3, body: &$0) }
            #expect(Array(body[..<16]) == encrypted)
            body.asBody { cipher.decryptBody(command: 3, body: &$0) }
            #expect(body == plain + [1, 2, 3])
        }
    }

    /// A tag that equals the mask goes into AES as zero.
    @Test("POLYVAL of RFC 8452, appendix A", arguments: CipherImplementation.available)
    func polyval(implementation: CipherImplementation) throws {
        let h = try #require([UInt8](hex: "25629347589242761d31f826ba4b757b"))
        let x1 = try #require([UInt8](hex: "4f4f95668c83dfb6401762bb2d01a262"))
        let x2 = try #require([UInt8](hex: "d1a24ddd2721d006bbe45f20d3c9f362"))
        let product = try #require([UInt8](hex: "f7a3b47b846119fae5b7866cf5e5b77e"))
        let aesOfZero = try #require([UInt8](hex: "66e94bd4ef8a2c3b884cfa59ca342b2e"))
        let cipher = try HopCipher.make(implementation, keys: Self.zeros + h + Self.zeros + Self.zeros, lastTag: x1)
        var body = product + x2[1...]
        body.asBody { cipher.encryptBody(command: x2[0], body: &$0) }
        #expect(Array(body[..<16]) == product ^ aesOfZero)
    }

    @Test(
        "a cell is a hop's own by all 128 bits of its tag, in both directions",
        arguments: CipherImplementation.available)
    func wholeTag(implementation: CipherImplementation) throws {
        var generator = SplitMix64(7)
        let keys = generator.bytes(64), nonce = generator.bytes(16), payload = generator.bytes(2027)
        func cipher() throws -> HopCipher { try HopCipher.make(implementation, keys: keys, nonce: nonce) }
        // What comes out as the hop's nonce with one bit flipped; at the end, with none.
        for bit in 0...128 {
            var plain = nonce + payload
            if bit < 128 { plain[bit / 8] ^= 1 << (bit % 8) }
            var forward = plain, backward = plain
            let (maker, router, client) = (try cipher(), try cipher(), try cipher())
            forward.asBody { maker.decryptBody(command: 3, body: &$0) }
            backward.asBody { maker.encryptBody(command: 3, body: &$0) }
            #expect((forward.asBody { router.forward(command: 3, body: &$0) } != nil) == (bit == 128), "bit \(bit)")
            let received = backward.asBody { ClientCipher.backward([client], command: 3, body: &$0) }
            #expect((received != nil) == (bit == 128), "bit \(bit)")
        }
    }

    /// All lengths round every boundary, and chains of cells, so that each state follows from the one before.
    @Test("all give the same bytes and states as the portable one", arguments: 1...24 as ClosedRange<UInt64>)
    func agreement(seed: UInt64) throws {
        var generator = SplitMix64(seed)
        let keys = generator.bytes(64), nonce = generator.bytes(16), lastTag = generator.bytes(16)
        let ciphers = try CipherImplementation.available.map {
            try HopCipher.make($0, keys: keys, nonce: nonce, lastTag: lastTag)
        }
        for step in 0..<25 {
            let byteCount =
                switch step % 4 {
                case 0: Int.random(in: HopCipher.bodyByteCounts, using: &generator)
                case 1: 16 + Int.random(in: 1...300, using: &generator)
                case 2:
                    min(
                        4032,
                        16 + 256 * Int.random(in: 1...15, using: &generator)
                            + Int.random(in: -18...18, using: &generator))
                default: 2043
                }
            // An offset, so that bodies start at any alignment.
            let offset = Int.random(in: 0..<64, using: &generator)
            let command = UInt8.random(in: .min ... .max, using: &generator)
            var bytes = generator.bytes(offset + byteCount + 64)
            let operation = Int.random(in: 0..<6, using: &generator)
            // Now and then a cell that is recognised.
            let states = ciphers.map { $0.stateBytes.keys }
            if operation == 1, step.isMultiple(of: 2) {
                bytes.replaceSubrange(offset..<offset + 16, with: states[0][64...])
            }
            var results: [(bytes: [UInt8], tag: CellTag?)] = []
            for cipher in ciphers {
                var copy = bytes
                let tag = copy.withUnsafeMutableBytes { whole in
                    let part = UnsafeMutableRawBufferPointer(rebasing: whole[offset..<offset + byteCount])
                    var body = part.mutableBytes
                    return Self.apply(operation, cipher, command, &body)
                }
                results.append((copy, tag))
            }
            let place: Comment = "seed \(seed), step \(step), operation \(operation), \(byteCount) bytes"
            for (implementation, (cipher, result)) in zip(
                CipherImplementation.available, zip(ciphers, results)
            ) {
                #expect(result.bytes == results[0].bytes, place)
                #expect(result.tag == results[0].tag, "\(implementation)")
                #expect(cipher.stateBytes.keys == ciphers[0].stateBytes.keys, "\(implementation)")
                #expect(cipher.stateBytes.lastTag == ciphers[0].stateBytes.lastTag, "\(implementation)")
            }
            #expect(Array(results[0].bytes[..<offset]) == Array(bytes[..<offset]), place)
            #expect(results[0].bytes[(offset + byteCount)...] == bytes[(offset + byteCount)...], place)
        }
    }

    private static func apply(
        _ operation: Int, _ cipher: HopCipher, _ command: UInt8, _ body: inout MutableRawSpan
    ) -> CellTag? {
        switch operation {
        case 0: return cipher.forward(command: command, body: &body)
        case 1:
            // Decrypted first, a nonce in the tag's place comes back as one, and is recognised.
            cipher.decryptBody(command: command, body: &body)
            return cipher.forward(command: command, body: &body)
        case 2:
            cipher.backward(command: command, body: &body)
            return nil
        case 3: return cipher.originate(command: command, body: &body)
        case 4: return ClientCipher.originate([cipher], target: 0, command: command, body: &body)
        default: return ClientCipher.backward([cipher], command: command, body: &body)?.tag
        }
    }

    @Test("every length round the vector widths agrees", arguments: CipherImplementation.available)
    func lengths(implementation: CipherImplementation) throws {
        var generator = SplitMix64(7)
        let keys = generator.bytes(80)
        let portable = try #require(CipherImplementation.available.first)
        for byteCount in [17..<560, 2030..<2080, 4000..<4033].joined() {
            let one = try #require(HopCipher(keyBytes: keys, implementation: portable))
            let other = try #require(HopCipher(keyBytes: keys, implementation: implementation))
            let plain = generator.bytes(byteCount)
            var expected = plain, body = plain
            _ = expected.asBody { one.originate(command: 3, body: &$0) }
            _ = body.asBody { other.originate(command: 3, body: &$0) }
            #expect(body == expected && one.stateBytes.keys == other.stateBytes.keys, "\(byteCount) bytes")
        }
    }
}
