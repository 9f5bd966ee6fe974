import OnionCrypto
import Testing

@testable import OnionLink

@Suite("Keys in certificates")
struct LinkCredentialsTests {
    @Test("a key of another kind is no link key, if it is as long as one or not")
    func otherKinds() {
        let key = Ed25519PrivateKey().publicKey
        let info = Ed25519DER.publicKeyPrefix + key.rawBytes
        #expect(Ed25519DER.publicKey(in: info) == key)
        // X25519, Ed448's number, and lengths that do not fit.
        for number in [0x6e, 0x71] as [UInt8] {
            var other = info
            other[8] = number
            #expect(Ed25519DER.publicKey(in: other) == nil)
        }
        #expect(Ed25519DER.publicKey(in: info + [0]) == nil)
        #expect(Ed25519DER.publicKey(in: Array(info.dropLast())) == nil)
        #expect(Ed25519DER.publicKey(in: []) == nil)
    }
}
