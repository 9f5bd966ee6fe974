import ArgumentParser
import Foundation
import OnionCrypto
import Testing

@testable import thor_keys

@Suite("thor-keys")
final class CommandTests {
    private let directory: String

    init() throws {
        self.directory = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.directory) }

    private func file(_ name: String) -> String { "\(self.directory)/\(name)" }

    private func write(_ text: String, to name: String, mode: Int = 0o600) throws -> String {
        let path = self.file(name)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    /// Run a command line as the executable would, and return the code with which it ends.
    private func run(_ arguments: String...) -> Int32 {
        do {
            var command = try ThorKeys.parseAsRoot(arguments)
            try command.run()
            return 0
        } catch {
            return ThorKeys.exitCode(for: error).rawValue
        }
    }

    @Test("makes a key and its public half")
    func makesKeys() throws {
        #expect(self.run("generate", self.file("key")) == 0)
        #expect(self.run("public", self.file("key"), self.file("key.pub")) == 0)
        let key = try KeyFile.readPrivate(self.file("key"))
        #expect(try KeyFile.readPublic(self.file("key.pub")) == key.publicKey)
    }

    @Test("never overwrites a file, and ends with 73")
    func neverOverwrites() throws {
        let precious = try self.write("precious", to: "precious")
        #expect(self.run("generate", precious) == 73)
        #expect(self.run("generate", self.file("key")) == 0)
        #expect(self.run("public", self.file("key"), precious) == 73)
        #expect(try String(contentsOfFile: precious, encoding: .utf8) == "precious")
    }

    @Test("encrypts with the passphrase of a file, and opens with the same one only")
    func passphrase() throws {
        let right = try self.write("correct horse\n", to: "right")
        let wrong = try self.write("wrong\n", to: "wrong")
        #expect(self.run("generate", self.file("key"), "--passphrase-file", right) == 0)
        #expect(self.run("public", self.file("key"), self.file("pub"), "--passphrase-file", wrong) == 65)
        #expect(self.run("public", self.file("key"), self.file("pub"), "--passphrase-file", right) == 0)
        #expect(throws: KeyFileError.passphraseNeeded(path: self.file("key"))) {
            try KeyFile.readPrivate(self.file("key"))
        }
    }

    @Test("copies a key and adds, changes or takes away its passphrase; only its owner may read the copy")
    func copies() throws {
        let old = try self.write("correct horse\n", to: "old")
        let new = try self.write("battery staple\n", to: "new")
        #expect(self.run("generate", self.file("key")) == 0)
        let key = try KeyFile.readPrivate(self.file("key")).publicKey
        #expect(self.run("copy", self.file("key"), self.file("added"), "--passphrase-file", old) == 0)
        #expect(
            self.run(
                "copy", self.file("added"), self.file("changed"), "--old-passphrase-file", old, "--passphrase-file", new
            )
                == 0)
        #expect(self.run("copy", self.file("changed"), self.file("taken"), "--old-passphrase-file", new) == 0)
        #expect(try KeyFile.readPrivate(self.file("added")) { try KeyFile.readPassphrase(old) }.publicKey == key)
        #expect(try KeyFile.readPrivate(self.file("changed")) { try KeyFile.readPassphrase(new) }.publicKey == key)
        #expect(try KeyFile.readPrivate(self.file("taken")).publicKey == key)
        for name in ["added", "changed"] {
            #expect(throws: KeyFileError.passphraseNeeded(path: self.file(name))) {
                try KeyFile.readPrivate(self.file(name))
            }
        }
        for name in ["added", "changed", "taken"] {
            let mode = try FileManager.default.attributesOfItem(atPath: self.file(name))[.posixPermissions]
            #expect(mode as? Int == 0o600)
        }
    }

    @Test("a copy that cannot be made makes no file, and never overwrites one")
    func copyErrors() throws {
        let right = try self.write("correct horse\n", to: "right")
        let wrong = try self.write("wrong\n", to: "wrong")
        let precious = try self.write("precious", to: "precious")
        #expect(self.run("generate", self.file("key"), "--passphrase-file", right) == 0)
        let copy = self.file("copy")
        #expect(self.run("copy", self.file("key"), copy, "--old-passphrase-file", wrong) == 65)
        #expect(self.run("copy", self.file("key"), copy, "--passphrase", "--passphrase-file", right) == 64)
        #expect(self.run("copy", self.file("none"), copy) == 66)
        #expect(self.run("copy", self.file("key")) == 64)
        #expect(!FileManager.default.fileExists(atPath: copy))
        #expect(self.run("copy", self.file("key"), precious, "--old-passphrase-file", right) == 73)
        #expect(self.run("copy", self.file("key"), self.file("key"), "--old-passphrase-file", right) == 73)
        #expect(try String(contentsOfFile: precious, encoding: .utf8) == "precious")
        #expect(throws: Never.self) { try KeyFile.readPrivate(self.file("key")) { try KeyFile.readPassphrase(right) } }
    }

    @Test("ends with the code of sysexits.h for what is wrong")
    func exitCodes() throws {
        #expect(self.run("public", self.file("none"), self.file("pub")) == 66)
        #expect(self.run("public", try self.write("hello", to: "junk"), self.file("pub")) == 65)
        #expect(self.run("public", try self.write("hello", to: "open", mode: 0o644), self.file("pub")) == 77)
        #expect(self.run("generate", self.file("no/such/directory")) == 73)
        let open = try self.write("secret", to: "passphrase", mode: 0o644)
        #expect(self.run("generate", self.file("key"), "--passphrase-file", open) == 77)
        #expect(self.run("generate") == 64)
        #expect(self.run("generate", self.file("key"), "--passphrase", "--passphrase-file", open) == 64)
        #expect(self.run("generate", self.file("key"), "--no-such-option") == 64)
        #expect(self.run("no-such-command") == 64)
        #expect(!FileManager.default.fileExists(atPath: self.file("key")))
        #expect(!FileManager.default.fileExists(atPath: self.file("pub")))
    }
}
