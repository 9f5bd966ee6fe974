import OnionCrypto
import Testing

@Suite("Ed25519 keys and signatures")
struct Ed25519Tests {
    private let key = Ed25519PrivateKey()
    private let message = Array("a document".utf8)

    // RFC 8032 §7.1, test 1.
    @Test("makes the published public key from its seed")
    func publishedKey() throws {
        let seed = try #require(unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
        let key = try #require(Ed25519PrivateKey(seed: seed))
        #expect(hex(key.publicKey.rawBytes) == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        #expect(key.withSeed { [UInt8]($0) } == seed)
    }

    // Made with PyNaCl: SigningKey(bytes(range(32))).sign(b"thor ticket v1\0" + b"abc").signature
    @Test("signs over the prefix of the kind")
    func knownSignature() throws {
        let key = try #require(Ed25519PrivateKey(seed: [UInt8](0..<32)))
        #expect(
            hex(key.signature(over: "abc".utf8, kind: .ticket))
                == "a95491dabf5ab487fc4f54e76736ba5fb06247c4e9ca4ad390c6030f2eb64d8e64997eaea5dc14094e7212f3bc369de689b0067d8142894fd74a2947ae4d490e"
        )
    }

    @Test("a signature holds for its own kind and no other", arguments: SignedKind.allCases)
    func domainSeparation(kind: SignedKind) {
        let signature = self.key.signature(over: self.message, kind: kind)
        #expect(signature.count == 64)
        for other in SignedKind.allCases {
            let isValid = self.key.publicKey.isValidSignature(signature, over: self.message, kind: other)
            #expect(isValid == (other == kind))
        }
    }

    @Test("refuses another message, another key, and a flipped bit anywhere")
    func alterations() {
        let signature = self.key.signature(over: self.message, kind: .consensus)
        let publicKey = self.key.publicKey
        #expect(!publicKey.isValidSignature(signature, over: self.message + [0], kind: .consensus))
        #expect(!publicKey.isValidSignature(signature, over: [UInt8](), kind: .consensus))
        #expect(!Ed25519PrivateKey().publicKey.isValidSignature(signature, over: self.message, kind: .consensus))
        for bit in 0..<512 {
            var altered = signature
            altered[bit / 8] ^= 1 << (bit % 8)
            #expect(!publicKey.isValidSignature(altered, over: self.message, kind: .consensus))
        }
    }

    @Test("refuses a signature of the wrong length", arguments: [0, 1, 63, 65])
    func wrongLength(count: Int) {
        let good = self.key.signature(over: self.message, kind: .link)
        let signature = Array((good + [0]).prefix(count))
        #expect(!self.key.publicKey.isValidSignature(signature, over: self.message, kind: .link))
    }

    @Test("a key of small order validates nothing")
    func smallOrder() throws {
        // With the neutral element as key, S = 0 and R = the same would hold for every message.
        let neutral = [1] + [UInt8](repeating: 0, count: 31)
        let key = try #require(Ed25519PublicKey(rawBytes: neutral))
        let signature = neutral + [UInt8](repeating: 0, count: 32)
        #expect(!key.isValidSignature(signature, over: self.message, kind: .descriptor))
    }

    @Test("refuses seeds and keys of the wrong length", arguments: [0, 31, 33])
    func lengths(count: Int) {
        let bytes = [UInt8](repeating: 9, count: count)
        #expect(Ed25519PrivateKey(seed: bytes) == nil)
        #expect(X25519PrivateKey(seed: bytes) == nil)
        #expect(Ed25519PublicKey(rawBytes: bytes) == nil)
        #expect(X25519PublicKey(rawBytes: bytes) == nil)
    }

    @Test("a fingerprint reads back")
    func fingerprint() throws {
        let text = self.key.publicKey.base64URL
        #expect(text.count == 43)
        #expect(Ed25519PublicKey(base64URL: text) == self.key.publicKey)
        #expect(Ed25519PublicKey(base64URL: text + "=") == nil)
        #expect(Ed25519PublicKey(base64URL: String(text.dropLast())) == nil)
    }

    // RFC 7748 §6.1.
    @Test("makes the published X25519 public key from its seed")
    func publishedX25519Key() throws {
        let seed = try #require(unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
        let key = try #require(X25519PrivateKey(seed: seed))
        #expect(hex(key.publicKey.rawBytes) == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        #expect(key.withSeed { [UInt8]($0) } == seed)
    }
}
