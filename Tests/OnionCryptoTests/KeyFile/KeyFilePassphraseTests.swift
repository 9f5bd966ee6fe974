import Testing

@testable import OnionCrypto

@Suite("Encrypted key files")
struct KeyFilePassphraseTests {
    private struct NoTerminal: Error, CustomStringConvertible { let description = "no terminal" }

    private let directory: TemporaryDirectory
    private let key = Ed25519PrivateKey()
    private let passphrase = Array("correct horse".utf8)

    init() throws { self.directory = try TemporaryDirectory() }

    /// Write the key encrypted at the least cost, so that the tests do not take a second each.
    private func written() throws -> String {
        let path = self.directory.file("key")
        let seed = self.key.withSeed { seed in
            SecretMemory(byteCount: 32, protection: .plain) { $0.copyMemory(from: seed) }
        }
        try KeyFile.write(
            seed, kind: .ed25519, to: path, passphrase: self.passphrase, overwrite: false, cost: .least)
        return path
    }

    @Test("opens with its passphrase, at the real cost")
    func roundTrip() throws {
        let path = self.directory.file("key")
        try KeyFile.writePrivate(self.key, to: path, passphrase: self.passphrase)
        #expect(try self.directory.mode(path) == 0o600)
        #expect(try self.directory.text(path).contains("argon2id 3 262144 "))
        let seed = self.key.withSeed { Base64URL.encode($0) }
        #expect(try !self.directory.text(path).contains(seed))
        #expect(try KeyFile.readPrivate(path) { self.passphrase }.publicKey == self.key.publicKey)
    }

    @Test("does not ask for a passphrase when the file is not encrypted")
    func notAsked() throws {
        let path = self.directory.file("key")
        try KeyFile.writePrivate(self.key, to: path)
        #expect(throws: Never.self) { try KeyFile.readPrivate(path) { throw NoTerminal() } }
    }

    @Test("says that a passphrase is needed, wrong, or could not be had")
    func refusals() throws {
        let path = try self.written()
        #expect(throws: KeyFileError.passphraseNeeded(path: path)) { try KeyFile.readPrivate(path) }
        #expect(throws: KeyFileError.passphraseNeeded(path: path)) { try KeyFile.readPrivate(path) { [] } }
        #expect(throws: KeyFileError.wrongPassphrase(path: path)) { try KeyFile.readPrivate(path) { [1] } }
        #expect(throws: KeyFileError.passphraseUnavailable(path: path, why: "no terminal")) {
            try KeyFile.readPrivate(path) { throw NoTerminal() }
        }
        #expect(throws: KeyFileError.exists(path: "/else")) {
            try KeyFile.readPrivate(path) { throw KeyFileError.exists(path: "/else") }
        }
        let other = self.directory.file("other")
        #expect(throws: KeyFileError.passphraseNeeded(path: other)) {
            try KeyFile.writePrivate(self.key, to: other, passphrase: [])
        }
    }

    @Test("parameters have four words, a salt and a sealed seed have their lengths")
    func parameters() {
        func isRead(saltByteCount: Int = 16, sealedByteCount: Int = 72, before: String = "", after: String = "") -> Bool
        {
            let salt = Base64URL.encode([UInt8](repeating: 1, count: saltByteCount))
            let sealed = [UInt8](repeating: 1, count: sealedByteCount)
            return PassphraseBox(parameterLine: "\(before)argon2id 1 8 \(salt)\(after)", sealed: sealed) != nil
        }
        #expect(isRead())
        #expect(!isRead(before: " ") && !isRead(after: " ") && !isRead(after: " x"))
        #expect(!isRead(saltByteCount: 15) && !isRead(saltByteCount: 17))
        #expect(!isRead(sealedByteCount: 71) && !isRead(sealedByteCount: 73))
        #expect(PassphraseBox(parameterLine: "argon2id 1 8", sealed: [UInt8](repeating: 1, count: 72)) == nil)
    }

    @Test("a key that cannot be derived seals nothing, and is no key of zeros")
    func underivable() throws {
        let seed = SecretMemory(byteCount: 32, protection: .plain) {
            $0.copyBytes(from: [UInt8](repeating: 1, count: 32))
        }
        let path = self.directory.file("key")
        // libsodium takes less memory than this for none.
        let cost = PassphraseBox.Cost(passes: 1, memoryKiB: 1)
        #expect(
            throws: KeyFileError.io(
                path: path, operation: "find the memory to encrypt", errno: AtomicFile.outOfMemory)
        ) {
            try KeyFile.write(
                seed, kind: .ed25519, to: path, passphrase: self.passphrase, overwrite: false, cost: cost)
        }
        #expect(self.directory.names.isEmpty)
    }

    @Test("refuses a file with any character changed")
    func alterations() throws {
        let path = try self.written()
        let text = Array(try self.directory.text(path))
        for index in text.indices where text[index] != "\n" {
            var altered = text
            altered[index] = altered[index] == "A" ? "B" : "A"
            let copy = try self.directory.write(String(altered), to: "altered")
            #expect(throws: KeyFileError.self) { try KeyFile.readPrivate(copy) { self.passphrase } }
        }
    }

    @Test("the first line is bound to the contents: one kind cannot be made another")
    func kindIsBound() throws {
        let text = try self.directory.text(self.written()).replacing("ed25519", with: "x25519")
        let path = try self.directory.write(text, to: "x25519")
        #expect(throws: KeyFileError.wrongPassphrase(path: path)) {
            try KeyFile.readPrivateX25519(path) { self.passphrase }
        }
    }

    @Test(
        "refuses costs that would hold up the program, before it tries them",
        arguments: ["0 8", "17 8", "1 7", "1 1048577", "18446744073709551615 8", "1 18446744073709551615", "-1 8", "1"])
    func costs(cost: String) throws {
        let text = try self.directory.text(self.written()).replacing("argon2id 1 8 ", with: "argon2id \(cost) ")
        let path = try self.directory.write(text, to: "costly")
        let error = try #require(throws: KeyFileError.self) { try KeyFile.readPrivate(path) { self.passphrase } }
        guard case .malformed = error else { Issue.record("\(error)"); return }
    }
}
