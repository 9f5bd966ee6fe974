/// Reads and writes key files.
///
/// A private key file is text, mode 0600, of one of two forms:
///
///     thor private key v1 ed25519
///     <32-byte seed, base64url>
///
///     thor private key v1 ed25519 passphrase
///     argon2id <passes> <memory in KiB> <salt, base64url>
///     <nonce and secretbox of the seed, base64url>
///
/// with `x25519` for an onion key. A public key file is the key alone, one line of unpadded base64url. A file is written
/// whole or not at all, and one that other users may open is refused.
///
/// - Source: DESIGN §4.
public enum KeyFile {
    /// What a private key file holds, as its first line names it.
    enum Kind: String, CaseIterable {
        case ed25519, x25519
    }

    static let headerPrefix = "thor private key v1 "
    static let passphraseSuffix = " passphrase"
    /// More than any key file needs.
    static let maximumByteCount = 4096

    /// Write an Ed25519 key, encrypted if there is a passphrase.
    ///
    /// - Throws: `.exists` if there is such a file and `overwrite` is false, `.passphraseNeeded` if the passphrase is
    ///   empty, `.io`.
    public static func writePrivate(
        _ key: Ed25519PrivateKey, to path: String, passphrase: [UInt8]? = nil, overwrite: Bool = false
    ) throws(KeyFileError) {
        let seed = key.withSeed { Self.copy($0) }
        try Self.write(seed, kind: .ed25519, to: path, passphrase: passphrase, overwrite: overwrite, cost: .normal)
    }

    /// Write an X25519 key, encrypted if there is a passphrase. Throws as the form for Ed25519.
    public static func writePrivate(
        _ key: X25519PrivateKey, to path: String, passphrase: [UInt8]? = nil, overwrite: Bool = false
    ) throws(KeyFileError) {
        let seed = key.withSeed { Self.copy($0) }
        try Self.write(seed, kind: .x25519, to: path, passphrase: passphrase, overwrite: overwrite, cost: .normal)
    }

    /// Read an Ed25519 private key.
    ///
    /// - Parameters:
    ///   - ownerOnly: refuse a file that others may open, by its mode. False where others cannot get at it whatever its mode.
    ///   - passphrase: asked only if the file is encrypted; nil (or nothing in it) means that there is none.
    public static func readPrivate(
        _ path: String, ownerOnly: Bool = true, passphrase: () throws -> [UInt8]? = { nil }
    ) throws(KeyFileError) -> Ed25519PrivateKey {
        let seed = try Self.read(path, kind: .ed25519, ownerOnly: ownerOnly, passphrase: passphrase)
        guard let key = seed.withBytes({ Ed25519PrivateKey(seed: $0) }) else {
            throw .malformed(path: path, what: "the key has the wrong length")
        }
        return key
    }

    /// Read an X25519 private key: an onion key of the state directory.
    public static func readPrivateX25519(
        _ path: String, passphrase: () throws -> [UInt8]? = { nil }
    ) throws(KeyFileError) -> X25519PrivateKey {
        let seed = try Self.read(path, kind: .x25519, ownerOnly: true, passphrase: passphrase)
        guard let key = seed.withBytes({ X25519PrivateKey(seed: $0) }) else {
            throw .malformed(path: path, what: "the key has the wrong length")
        }
        return key
    }

    /// Write a public key for all to read.
    ///
    /// - Throws: `.exists` if there is such a file and `overwrite` is false, `.io`.
    public static func writePublic(
        _ key: Ed25519PublicKey, to path: String, overwrite: Bool = false
    ) throws(KeyFileError) {
        let line = Array((key.base64URL + "\n").utf8)
        do { try AtomicFile.write(line, to: path, mode: 0o644, overwrite: overwrite) } catch {
            throw error.keyFileError
        }
    }

    /// Read a public key; white space around it is ignored.
    public static func readPublic(_ path: String) throws(KeyFileError) -> Ed25519PublicKey {
        let text = String(decoding: try Self.contents(of: path, ownerOnly: false), as: UTF8.self)
        let words = text.split(whereSeparator: \.isWhitespace)
        if text.hasPrefix(Self.headerPrefix) {
            throw .malformed(
                path: path,
                what: "it holds a private key, and the public one is wanted here. Never hand that file on; "
                    + "'thor-keys public' writes the public one")
        }
        guard let word = words.first, words.count == 1, let key = Ed25519PublicKey(base64URL: String(word)) else {
            throw .malformed(
                path: path, what: "a public key file is one line of 43 characters, as 'thor-keys public' writes it")
        }
        return key
    }

    /// Read a passphrase: the first line of a file that only its owner may open.
    ///
    /// - Throws: `.malformed` if that line is empty; and as the other readers.
    public static func readPassphrase(_ path: String, ownerOnly: Bool = true) throws(KeyFileError) -> [UInt8] {
        var bytes = try Self.contents(of: path, ownerOnly: ownerOnly)
        defer { wipe(&bytes) }
        let line = bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        guard !line.isEmpty else { throw .malformed(path: path, what: "its first line, the passphrase, is empty") }
        return Array(line)
    }

    /// Copy a seed into memory of its own, for encryption or encoding.
    private static func copy(_ seed: UnsafeRawBufferPointer) -> SecretMemory {
        SecretMemory(byteCount: seed.count, protection: .plain) { $0.copyMemory(from: seed) }
    }

    /// Read a file of text, refusing what is no regular file, too long, or (with `ownerOnly`) open to others.
    static func contents(of path: String, ownerOnly: Bool) throws(KeyFileError) -> [UInt8] {
        do {
            return try AtomicFile.read(path, maximumByteCount: Self.maximumByteCount, ownerOnly: ownerOnly)
        } catch {
            throw error.keyFileError
        }
    }
}
