import Foundation
import Testing

@testable import OnionCrypto

/// A directory of its own for each test, removed with it.
final class TemporaryDirectory {
    let path: String

    init() throws {
        self.path = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    func file(_ name: String) -> String { self.path + "/" + name }

    func write(_ text: String, to name: String, mode: Int = 0o600) throws -> String {
        let path = self.file(name)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    func mode(_ path: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    }

    var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: self.path)) ?? [] }
}

@Suite("Key files")
struct KeyFileTests {
    private let directory: TemporaryDirectory
    private let key = Ed25519PrivateKey()

    init() throws { self.directory = try TemporaryDirectory() }

    private func seed(_ key: Ed25519PrivateKey) -> [UInt8] { key.withSeed { [UInt8]($0) } }

    @Test("a private key reads back, and its file is its owner's alone")
    func privateRoundTrip() throws {
        let path = self.directory.file("key")
        try KeyFile.writePrivate(self.key, to: path)
        #expect(try self.directory.mode(path) == 0o600)
        #expect(self.seed(try KeyFile.readPrivate(path)) == self.seed(self.key))
        #expect(self.directory.names == ["key"])
    }

    @Test("an X25519 key reads back, and does not pass for an Ed25519 key")
    func kinds() throws {
        let onionKey = X25519PrivateKey()
        let path = self.directory.file("onion")
        try KeyFile.writePrivate(onionKey, to: path)
        #expect(try KeyFile.readPrivateX25519(path).publicKey == onionKey.publicKey)
        let error = try #require(throws: KeyFileError.self) { try KeyFile.readPrivate(path) }
        guard case .malformed = error else { Issue.record("\(error)"); return }
        #expect(error.description.contains("another kind ('x25519')"))
    }

    @Test("a public key reads back, and anybody may read it")
    func publicRoundTrip() throws {
        let path = self.directory.file("key.pub")
        try KeyFile.writePublic(self.key.publicKey, to: path)
        #expect(try self.directory.mode(path) == 0o644)
        #expect(try self.directory.text(path) == self.key.publicKey.base64URL + "\n")
        #expect(try KeyFile.readPublic(path) == self.key.publicKey)
        let spaced = try self.directory.write("\r\n  \(self.key.publicKey.base64URL)\r\n", to: "spaced", mode: 0o644)
        #expect(try KeyFile.readPublic(spaced) == self.key.publicKey)
        let two = try self.directory.write("\(self.key.publicKey.base64URL) more\n", to: "two", mode: 0o644)
        #expect(throws: KeyFileError.self) { try KeyFile.readPublic(two) }
    }

    @Test("a file that exists stays as it is, unless overwriting is asked for")
    func overwriting() throws {
        let path = try self.directory.write("precious", to: "key")
        #expect(throws: KeyFileError.exists(path: path)) { try KeyFile.writePrivate(self.key, to: path) }
        #expect(throws: KeyFileError.exists(path: path)) { try KeyFile.writePublic(self.key.publicKey, to: path) }
        #expect(try self.directory.text(path) == "precious")
        #expect(self.directory.names == ["key"])
        try KeyFile.writePrivate(self.key, to: path, overwrite: true)
        #expect(self.seed(try KeyFile.readPrivate(path)) == self.seed(self.key))
        #expect(self.directory.names == ["key"])
    }

    @Test(
        "where the file system has no links a new file is made all the same, and none is overwritten",
        arguments: [EPERM, EOPNOTSUPP, ENOSYS])
    func noLinks(code: Int32) throws {
        let path = self.directory.file("key")
        let write = { (text: String) in
            try AtomicFile.write(Array(text.utf8), to: path, mode: 0o600, overwrite: false) { _, _ in code }
        }
        try write("first")
        #expect(try self.directory.text(path) == "first")
        #expect(try self.directory.mode(path) == 0o600)
        #expect(throws: AtomicFile.Failure.exists(path: path)) { try write("second") }
        #expect(try self.directory.text(path) == "first")
        #expect(self.directory.names == ["key"])
    }

    @Test("nobody else can read a key while it is being written", arguments: [0o600, 0o644] as [UInt32])
    func modeFromTheStart(mode: UInt32) throws {
        let path = self.directory.file("")
        let (name, file) = try AtomicFile.makeTemporary(in: path, mode: mode, path: path)
        #expect(close(file) == 0)
        #expect(try self.directory.mode(name) == 0o600)
    }

    @Test("another error of a link is told, and no file is left")
    func linkFails() throws {
        let path = self.directory.file("key")
        #expect(throws: AtomicFile.Failure.system(path: path, operation: "create", errno: ENOSPC)) {
            try AtomicFile.write([1], to: path, mode: 0o600, overwrite: false) { _, _ in ENOSPC }
        }
        #expect(self.directory.names.isEmpty)
    }

    @Test("a link that leads nowhere is not written through")
    func danglingLink() throws {
        let path = self.directory.file("key")
        try FileManager.default.createSymbolicLink(
            atPath: path, withDestinationPath: self.directory.file("elsewhere"))
        #expect(throws: KeyFileError.exists(path: path)) { try KeyFile.writePrivate(self.key, to: path) }
        #expect(self.directory.names == ["key"])
    }

    @Test("overwriting never goes through the old file, so a reader has the old key or the new one")
    func atomicity() throws {
        let path = self.directory.file("key")
        try KeyFile.writePrivate(self.key, to: path)
        let reader = try #require(FileHandle(forReadingAtPath: path))
        let old = try self.directory.text(path)
        try KeyFile.writePrivate(Ed25519PrivateKey(), to: path, overwrite: true)
        #expect(try reader.readToEnd() == Data(old.utf8))
        #expect(try self.directory.text(path) != old)
    }

    @Test("a directory that is not there is named in the error, and nothing is left behind")
    func noDirectory() throws {
        let path = self.directory.file("no/key")
        let error = try #require(throws: KeyFileError.self) { try KeyFile.writePrivate(self.key, to: path) }
        #expect(error == .io(path: path, operation: "create", errno: ENOENT))
        #expect(error.description.contains(path))
        #expect(self.directory.names.isEmpty)
    }

    @Test(
        "refuses a private key file on which others have any permission",
        arguments: [0o644, 0o640, 0o620, 0o604, 0o601])
    func modes(mode: Int) throws {
        let path = self.directory.file("key")
        try KeyFile.writePrivate(self.key, to: path)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        let error = try #require(throws: KeyFileError.self) { try KeyFile.readPrivate(path) }
        #expect(error == .readableByOthers(path: path, mode: UInt32(mode)))
        #expect(error.description.contains("chmod 600"))
        #expect(error.description.contains("mode 0\(String(mode, radix: 8))"))
        let onionKey = self.directory.file("onion")
        try KeyFile.writePrivate(X25519PrivateKey(), to: onionKey)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: onionKey)
        #expect(throws: KeyFileError.readableByOthers(path: onionKey, mode: UInt32(mode))) {
            try KeyFile.readPrivateX25519(onionKey)
        }
    }

    @Test("names a file that is not there")
    func missing() {
        let path = self.directory.file("none")
        #expect(throws: KeyFileError.fileNotFound(path: path)) { try KeyFile.readPrivate(path) }
        #expect(throws: KeyFileError.fileNotFound(path: path)) { try KeyFile.readPublic(path) }
        #expect(throws: KeyFileError.fileNotFound(path: "")) { try KeyFile.readPublic("") }
    }

    @Test("a zero byte does not end a path")
    func zeroByte() throws {
        let path = self.directory.file("key\0.pub")
        #expect(throws: KeyFileError.io(path: path, operation: "create", errno: ENOENT)) {
            try KeyFile.writePublic(self.key.publicKey, to: path)
        }
        #expect(self.directory.names.isEmpty)
        try KeyFile.writePublic(self.key.publicKey, to: self.directory.file("key"))
        #expect(throws: KeyFileError.fileNotFound(path: path)) { try KeyFile.readPublic(path) }
    }

    @Test("a disk that takes no more, a mode that cannot be set, and what cannot be synced are errors")
    func systemErrors() throws {
        func fill(_ file: Int32, with bytes: [UInt8]) throws {
            try AtomicFile.fill(file, with: bytes, mode: 0o600, path: "x")
        }
        func refusal(_ errno: Int32, of operation: String = "write") -> AtomicFile.Failure {
            .system(path: "x", operation: operation, errno: errno)
        }
        #expect(throws: refusal(ENOSPC)) { try fill(open("/dev/full", O_WRONLY | O_CLOEXEC), with: [1]) }
        #expect(throws: refusal(EPERM)) { try fill(open("/proc/self/comm", O_WRONLY | O_CLOEXEC), with: []) }
        let pipe = Pipe()
        let copy = dup(pipe.fileHandleForWriting.fileDescriptor)
        // An old error is none of now.
        errno = EINTR
        #expect(throws: refusal(EINVAL)) { try fill(copy, with: [1]) }
        let short = try self.directory.write("abc", to: "short")
        errno = EINTR
        #expect(try AtomicFile.read(short, maximumByteCount: 16, ownerOnly: true) == Array("abc".utf8))

        #expect(throws: refusal(ENOENT, of: "sync the directory of")) {
            try AtomicFile.sync(directory: self.directory.file("none"), path: "x")
        }
        // Nothing that can be synced, but no error of the disk.
        try AtomicFile.sync(directory: "/proc/self/fd", path: "x")
        // A regular file, at whose beginning nothing can be read.
        #expect(throws: AtomicFile.Failure.system(path: "/proc/self/mem", operation: "read", errno: EIO)) {
            try AtomicFile.read("/proc/self/mem", maximumByteCount: 16, ownerOnly: false)
        }
    }

    @Test("lines may end as on other systems")
    func carriageReturns() throws {
        let path = self.directory.file("key")
        try KeyFile.writePrivate(self.key, to: path)
        let text = try self.directory.text(path)
        for end in ["\r\n", "\r"] {
            let copy = try self.directory.write(text.replacing("\n", with: end), to: "copy")
            #expect(self.seed(try KeyFile.readPrivate(copy)) == self.seed(self.key))
        }
    }

    @Test("a mode of any length can be told of")
    func longMode() {
        let error = KeyFileError.readableByOthers(path: "x", mode: 0o100_644)
        #expect(error.description.contains("mode 100644"))
    }

    @Test("refuses a directory and a FIFO without waiting")
    func notRegular() throws {
        let fifo = self.directory.file("fifo")
        try #require(mkfifo(fifo, 0o600) == 0)
        for path in [self.directory.path, fifo] {
            #expect(throws: KeyFileError.malformed(path: path, what: "it is not a regular file")) {
                try KeyFile.readPrivate(path)
            }
        }
    }

    @Test("tells a public key file from a private one")
    func swapped() throws {
        let secret = self.directory.file("key")
        let open = self.directory.file("key.pub")
        try KeyFile.writePrivate(self.key, to: secret)
        try KeyFile.writePublic(self.key.publicKey, to: open)
        #expect(
            try #require(throws: KeyFileError.self) { try KeyFile.readPrivate(open) }.description.contains("public"))
        let neither = try self.directory.write("hello\n", to: "neither")
        #expect(
            throws: KeyFileError.malformed(
                path: neither, what: "it is not a private key file of Thor. 'thor-keys generate' makes one")
        ) { try KeyFile.readPrivate(neither) }
        let short = try self.directory.write("thor private key v1 ed25519\nAAAA\n", to: "short")
        #expect(
            throws: KeyFileError.malformed(
                path: short, what: "its second line is not a key. The file is damaged")
        ) { try KeyFile.readPrivate(short) }
        let closed = try self.directory.write(self.key.publicKey.base64URL + "\n", to: "closed")
        #expect(
            try #require(throws: KeyFileError.self) { try KeyFile.readPrivate(closed) }.description.contains("public"))
        #expect(
            try #require(throws: KeyFileError.self) { try KeyFile.readPublic(secret) }.description.contains("private"))
    }

    @Test(
        "refuses what is no private key file",
        arguments: [
            "", "\n\n", "hello", "thor private key v1 ed25519", "thor private key v1 ed25519\nAAAA\n",
            "thor private key v2 ed25519\nAAAA\n", "thor private key v1 rsa\nAAAA\n",
            "thor private key v1 ed25519\n\(String(repeating: "A", count: 43))\nmore\n",
            "thor private key v1 ed25519\n\(String(repeating: "A", count: 42))=\n",
            "thor private key v1 ed25519 passphrase\n",
            "thor private key v1 ed25519 passphrase\nargon2id 1 8 AAAA\nAAAA\n",
            String(repeating: "A", count: 4097), "\u{FFFD}\0\0",
        ])
    func malformed(text: String) throws {
        let path = try self.directory.write(text, to: "key")
        let error = try #require(throws: KeyFileError.self) { try KeyFile.readPrivate(path) { Array("x".utf8) } }
        guard case .malformed = error else { Issue.record("\(error)"); return }
        #expect(throws: KeyFileError.self) { try KeyFile.readPublic(path) }
    }

    @Test("reads the longest file that is allowed, and not one byte more")
    func lengthLimit() throws {
        let fits = try self.directory.write(String(repeating: "x", count: 4096), to: "fits")
        #expect(try KeyFile.readPassphrase(fits).count == 4096)
        let over = try self.directory.write(String(repeating: "x", count: 4097), to: "over")
        #expect(throws: KeyFileError.self) { try KeyFile.readPassphrase(over) }
    }

    @Test("a passphrase is the first line of its file")
    func passphraseFile() throws {
        #expect(try KeyFile.readPassphrase(self.directory.write("a b\r\nc\n", to: "one")) == Array("a b".utf8))
        let empty = try self.directory.write("\nx", to: "empty")
        #expect(throws: KeyFileError.self) { try KeyFile.readPassphrase(empty) }
        let open = try self.directory.write("a b\n", to: "open", mode: 0o644)
        #expect(throws: KeyFileError.readableByOthers(path: open, mode: 0o644)) { try KeyFile.readPassphrase(open) }
    }
}
