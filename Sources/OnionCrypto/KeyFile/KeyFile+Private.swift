// What holds a secret stays an array of bytes here, used in place: text, and slices that share its storage, cannot be wiped.
extension KeyFile {
    /// Write a seed as a private key file.
    static func write(
        _ seed: SecretMemory, kind: Kind, to path: String, passphrase: [UInt8]?, overwrite: Bool,
        cost: PassphraseBox.Cost
    ) throws(KeyFileError) {
        var bytes: [UInt8] = []
        // Growing would leave a copy behind.
        bytes.reserveCapacity(Self.maximumByteCount)
        defer { wipe(&bytes) }
        if let passphrase {
            guard !passphrase.isEmpty else { throw .passphraseNeeded(path: path) }
            let header = Self.headerPrefix + kind.rawValue + Self.passphraseSuffix
            guard let box = PassphraseBox(sealing: seed, passphrase: passphrase, cost: cost, context: header) else {
                throw .io(path: path, operation: "find the memory to encrypt", errno: AtomicFile.outOfMemory)
            }
            bytes += "\(header)\n\(box.parameterLine)\n\(Base64URL.encode(box.sealed))\n".utf8
        } else {
            bytes += "\(Self.headerPrefix)\(kind.rawValue)\n".utf8
            var characters = seed.withBytes { Base64URL.characters($0) }
            bytes += characters
            wipe(&characters)
            bytes.append(Self.newline)
        }
        do {
            try AtomicFile.write(bytes, to: path, mode: 0o600, overwrite: overwrite)
        } catch {
            throw error.keyFileError
        }
    }

    /// Read a seed from a private key file of this kind.
    static func read(
        _ path: String, kind: Kind, ownerOnly: Bool, passphrase: () throws -> [UInt8]?
    ) throws(KeyFileError) -> SecretMemory {
        var bytes = try Self.privateContents(of: path, ownerOnly: ownerOnly)
        defer { wipe(&bytes) }
        return try Self.seed(in: bytes, of: path, kind: kind, passphrase: passphrase)
    }

    /// Read a seed from what a private key file of this kind holds.
    static func seed(
        in bytes: [UInt8], of path: String, kind: Kind, passphrase: () throws -> [UInt8]?
    ) throws(KeyFileError) -> SecretMemory {
        let lines = Self.lines(of: bytes)
        guard let first = lines.first, bytes[first].starts(with: Self.headerPrefix.utf8) else {
            throw .malformed(path: path, what: Self.notAPrivateKey(bytes))
        }
        let header = String(decoding: bytes[first], as: UTF8.self)
        let plainHeader = Self.headerPrefix + kind.rawValue
        switch header {
        case plainHeader:
            guard lines.count == 2, var seed = Base64URL.decode(bytes[lines[1]]),
                seed.count == PassphraseBox.seedByteCount
            else { throw .malformed(path: path, what: "its second line is not a key. The file is damaged") }
            defer { wipe(&seed) }
            return SecretMemory(byteCount: seed.count, protection: .plain) { $0.copyBytes(from: seed) }
        case plainHeader + Self.passphraseSuffix:
            guard lines.count == 3, let sealed = Base64URL.decode(bytes[lines[2]]),
                let box = PassphraseBox(
                    parameterLine: String(decoding: bytes[lines[1]], as: UTF8.self), sealed: sealed)
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

    private static func privateContents(of path: String, ownerOnly: Bool) throws(KeyFileError) -> [UInt8] {
        do throws(KeyFileError) {
            return try Self.contents(of: path, ownerOnly: ownerOnly)
        } catch {
            // A public key file is open to all, rightly: the trouble is that it is given in place of the private one.
            guard case .readableByOthers = error, (try? Self.readPublic(path)) != nil else { throw error }
            throw .malformed(path: path, what: Self.isPublicKey)
        }
    }

    private static let newline = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")
    private static let isPublicKey = "it holds a public key, and the private one is wanted here"

    /// Where the lines are that are not empty.
    private static func lines(of bytes: [UInt8]) -> [Range<Int>] {
        var lines: [Range<Int>] = []
        var start = 0
        for index in 0...bytes.count
        where index == bytes.count || bytes[index] == Self.newline || bytes[index] == Self.carriageReturn {
            if index > start { lines.append(start..<index) }
            start = index + 1
        }
        return lines
    }

    /// Say what a file without our first line seems to be.
    private static func notAPrivateKey(_ bytes: [UInt8]) -> String {
        let lines = Self.lines(of: bytes)
        if let line = lines.first, lines.count == 1,
            Ed25519PublicKey(base64URL: String(decoding: bytes[line], as: UTF8.self)) != nil
        {
            return Self.isPublicKey
        }
        return "it is not a private key file of Thor. 'thor-keys generate' makes one"
    }
}
