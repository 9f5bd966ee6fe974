extension KeyFile {
    /// Write a seed as a private key file.
    static func write(
        _ seed: SecretMemory, kind: Kind, to path: String, passphrase: [UInt8]?, overwrite: Bool,
        cost: PassphraseBox.Cost
    ) throws(KeyFileError) {
        var lines: [String]
        if let passphrase {
            guard !passphrase.isEmpty else { throw .passphraseNeeded(path: path) }
            let header = Self.headerPrefix + kind.rawValue + Self.passphraseSuffix
            guard let box = PassphraseBox(sealing: seed, passphrase: passphrase, cost: cost, context: header) else {
                throw .io(path: path, operation: "find the memory to encrypt", errno: AtomicFile.outOfMemory)
            }
            lines = [header, box.parameterLine, Base64URL.encode(box.sealed)]
        } else {
            lines = [Self.headerPrefix + kind.rawValue, seed.withBytes { Base64URL.encode($0) }]
        }
        lines.append("")
        var bytes = Array(lines.joined(separator: "\n").utf8)
        defer { wipe(&bytes) }
        do {
            try AtomicFile.write(bytes, to: path, mode: 0o600, overwrite: overwrite)
        } catch {
            throw error.keyFileError
        }
    }

    /// Read a seed from a private key file of this kind.
    static func read(
        _ path: String, kind: Kind, passphrase: () throws -> [UInt8]?
    ) throws(KeyFileError) -> SecretMemory {
        var bytes = try Self.privateContents(of: path)
        defer { wipe(&bytes) }
        return try Self.seed(in: bytes, of: path, kind: kind, passphrase: passphrase)
    }

    /// Read a seed from what a private key file of this kind holds.
    static func seed(
        in bytes: [UInt8], of path: String, kind: Kind, passphrase: () throws -> [UInt8]?
    ) throws(KeyFileError) -> SecretMemory {
        let lines = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
        guard let header = lines.first, header.hasPrefix(Self.headerPrefix) else {
            throw .malformed(path: path, what: Self.notAPrivateKey(lines))
        }
        let plainHeader = Self.headerPrefix + kind.rawValue
        switch header {
        case plainHeader:
            guard lines.count == 2, var seed = Base64URL.decode(lines[1]), seed.count == PassphraseBox.seedByteCount
            else { throw .malformed(path: path, what: "its second line is not a key. The file is damaged") }
            defer { wipe(&seed) }
            return SecretMemory(byteCount: seed.count, protection: .plain) { $0.copyBytes(from: seed) }
        case plainHeader + Self.passphraseSuffix:
            guard lines.count == 3, let sealed = Base64URL.decode(lines[2]),
                let box = PassphraseBox(parameterLine: lines[1], sealed: sealed)
            else { throw .malformed(path: path, what: "what follows its first line is damaged") }
            return try Self.open(box, path: path, header: header, passphrase: passphrase)
        default:
            let what = "it holds a key of another kind ('\(header.dropFirst(Self.headerPrefix.count).prefix(40))')"
            throw .malformed(path: path, what: what + "; '\(kind.rawValue)' is wanted here")
        }
    }

    private static func open(
        _ box: PassphraseBox, path: String, header: String, passphrase: () throws -> [UInt8]?
    ) throws(KeyFileError) -> SecretMemory {
        var secret: [UInt8]
        do {
            secret = try passphrase() ?? []
        } catch let error as KeyFileError {
            throw error
        } catch {
            throw .passphraseUnavailable(path: path, why: "\(error)")
        }
        defer { wipe(&secret) }
        guard !secret.isEmpty else { throw .passphraseNeeded(path: path) }
        switch box.open(passphrase: secret, context: header) {
        case .opened(let seed): return seed
        case .refused: throw .wrongPassphrase(path: path)
        case .outOfMemory: throw .io(path: path, operation: "find the memory to decrypt", errno: AtomicFile.outOfMemory)
        }
    }

    private static func privateContents(of path: String) throws(KeyFileError) -> [UInt8] {
        do throws(KeyFileError) {
            return try Self.contents(of: path, secret: true)
        } catch {
            // A public key file is open to all, rightly: the trouble is that it is given in place of the private one.
            guard case .readableByOthers = error, (try? Self.readPublic(path)) != nil else { throw error }
            throw .malformed(path: path, what: Self.isPublicKey)
        }
    }

    private static let isPublicKey = "it holds a public key, and the private one is wanted here"

    /// Say what a file without our first line seems to be.
    private static func notAPrivateKey(_ lines: [String]) -> String {
        if let line = lines.first, lines.count == 1, Ed25519PublicKey(base64URL: line) != nil {
            return Self.isPublicKey
        }
        return "it is not a private key file of Thor. 'thor-keys generate' makes one"
    }
}
