import OnionCrypto

/// Keeps the guard sample in the state directory.
///
///     thor guard sample 1
///     directory <key of the directory>
///     guard <identity> <added, Unix seconds> <unlisted since, Unix seconds, or 0>     one line each, preferred first
///
/// A sample of another directory, and a file that cannot be read as this, count as none.
struct GuardSampleFile: Sendable {
    let path: String
    let directoryKey: Ed25519PublicKey

    static let byteLimit = 64 * 1024
    static let memberLimit = 200
    private static let title = "thor guard sample 1"

    init(stateDirectory: String, directoryKey: Ed25519PublicKey) {
        self.path = "\(stateDirectory)/guards"
        self.directoryKey = directoryKey
    }

    /// Return the sample, or nil when there is none.
    ///
    /// - Throws: what the file system says, but not that there is no file.
    func load() throws -> GuardSample? {
        do {
            let bytes = try AtomicFile.read(self.path, maximumByteCount: Self.byteLimit, ownerOnly: false)
            return self.parse(String(decoding: bytes, as: UTF8.self))
        } catch AtomicFile.Failure.notFound {
            return nil
        }
    }

    /// Replace the file, whole or not at all.
    func save(_ sample: GuardSample) throws {
        try AtomicFile.write(Array(self.text(of: sample).utf8), to: self.path, mode: 0o600, overwrite: true)
    }

    func text(of sample: GuardSample) -> String {
        let members = sample.members.map {
            "guard \($0.identity.base64URL) \($0.addedAt) \($0.unlistedSince ?? 0)\n"
        }
        return "\(Self.title)\ndirectory \(self.directoryKey.base64URL)\n" + members.joined()
    }

    func parse(_ text: String) -> GuardSample? {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: true)[...]
        guard lines.popFirst() == Self.title[...],
            lines.popFirst().map(String.init) == "directory \(self.directoryKey.base64URL)",
            lines.count <= Self.memberLimit
        else { return nil }
        var members: [GuardSample.Member] = []
        for line in lines {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 4, words[0] == "guard", let identity = Ed25519PublicKey(base64URL: String(words[1])),
                let addedAt = UInt64(words[2]), let unlisted = UInt64(words[3]),
                !members.contains(where: { $0.identity == identity })
            else { return nil }
            members.append(
                GuardSample.Member(
                    identity: identity, addedAt: addedAt, unlistedSince: unlisted == 0 ? nil : unlisted))
        }
        return GuardSample(members: members)
    }
}
