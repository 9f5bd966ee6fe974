import Testing

@testable import OnionCrypto

@Suite("Bytes32 and base64url")
struct Bytes32Tests {
    @Test("takes 32 bytes and nothing else", arguments: [0, 31, 33])
    func length(count: Int) throws {
        #expect(Bytes32([UInt8](repeating: 1, count: count)) == nil)
        let bytes = [UInt8](0..<32)
        #expect(try #require(Bytes32(bytes)).bytes == bytes)
        #expect(try #require(Bytes32(bytes[...])).withUnsafeBytes { [UInt8]($0) } == bytes)
    }

    @Test("has the order of its bytes")
    func order() throws {
        for index in 0..<32 {
            var bytes = [UInt8](repeating: 7, count: 32)
            let middle = try #require(Bytes32(bytes))
            bytes[index] = 8
            if index < 31 { bytes[index + 1] = 0 }
            let larger = try #require(Bytes32(bytes))
            #expect(middle < larger)
            #expect(!(larger < middle))
            #expect(middle != larger)
        }
    }

    @Test("writes base64url and reads it back", arguments: 0...40)
    func roundTrip(count: Int) {
        let bytes = SecureRandom.bytes(count)
        let text = Base64URL.encode(bytes)
        #expect(!text.contains { "+/=\n\0".contains($0) })
        #expect(Base64URL.decode(text) == bytes)
    }

    @Test("gives the known text")
    func knownAnswers() {
        #expect(Base64URL.encode([UInt8]()) == "")
        #expect(Base64URL.decode("") == [])
        #expect(Base64URL.decode([UInt8]()) == [])
        #expect(Base64URL.encode([0xFB, 0xFF, 0xFE]) == "-__-")
        #expect(Base64URL.encode("foobar".utf8) == "Zm9vYmFy")
        #expect(Base64URL.encode("fooba".utf8) == "Zm9vYmE")
    }

    @Test(
        "refuses padding, other alphabets, white space, stray bits, and text beyond ASCII",
        arguments: ["Zm9vYmE=", "+//+", "Zm9v\n", " Zm9v", "Zm9vYmF", "Z", "Zm 9v", "Zm9v\0", "Zm9é"])
    func refusals(text: String) {
        #expect(Base64URL.decode(text) == nil)
    }

    @Test("refuses every byte beyond ASCII, wherever it stands", arguments: 0x80...0xFF)
    func refusedBytes(byte: Int) {
        for index in 0..<4 {
            var characters = Array("Zm9v".utf8)
            characters[index] = UInt8(byte)
            #expect(Base64URL.decode(characters) == nil)
        }
    }
}
