import OnionCrypto
import Testing

@Suite("BLAKE2b and the KDF")
struct BLAKE2bTests {
    // Made with Python's hashlib.blake2b.
    @Test("gives the known hashes, with and without a key")
    func knownAnswers() {
        #expect(hex(BLAKE2b.hash256([]).bytes) == "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8")
        #expect(
            hex(BLAKE2b.hash256("abc".utf8).bytes) == "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
        )
        #expect(
            hex(BLAKE2b.hash256("abc".utf8, key: "a key".utf8).bytes)
                == "a46959de702382d4431b49efc3a41bda6290622d1f653f55050157565c4a786c")
        #expect(
            hex(BLAKE2b.hash256("abc".utf8, key: [UInt8](0..<64)).bytes)
                == "dff38c978666dff5631db35ca15535520d134f5c8060ea569c6a178ad393719f")
    }

    @Test("hashes pieces as it hashes the whole", arguments: [0, 1, 63, 127, 128, 129, 300])
    func incremental(split: Int) {
        let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var hasher = BLAKE2b.Hasher(key: [1, 2, 3])
        hasher.update(bytes[..<split])
        hasher.update(EmptyCollection())
        hasher.update(bytes[split...])
        #expect(hasher.finalize() == BLAKE2b.hash256(bytes, key: [1, 2, 3]))
    }

    @Test("hashes a collection that does not lie in one piece")
    func scattered() {
        #expect(BLAKE2b.hash256((0..<9).lazy.map { UInt8($0) }) == BLAKE2b.hash256([0, 1, 2, 3, 4, 5, 6, 7, 8]))
    }

    // hashlib.blake2b(b"", key=bytes(range(32)), salt=id || 0, person=b"thorcirc" || 0, digest_size=n)
    @Test(
        "derives the known subkeys",
        arguments: [
            (
                UInt64(1), 64,
                "739592986b963d0dac2723fc84c77117893aa0a6cccbf9b3e20d545cba078240649dbf5c9175b35ff6a3a64f384d2e7101be3ba08ec740cd4e917034b2f6f583"
            ), (258, 16, "84b955dec3b210ad6996bc8fed6dc3ad"),
        ])
    func subkeys(id: UInt64, byteCount: Int, expected: String) {
        var output = [UInt8](repeating: 0, count: byteCount)
        output.withUnsafeMutableBytes { output in
            [UInt8](0..<32).withUnsafeBytes { KDF.derive(into: output, id: id, context: "thorcirc", from: $0) }
        }
        #expect(hex(output) == expected)
    }
}
