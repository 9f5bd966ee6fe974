import Foundation
package import OnionCrypto
package import OnionDirectory

/// Keeps the last good consensus on disk, so that a start needs no directory.
///
/// The file is replaced whole. What is read back is verified like anything from outside.
///
/// - Source: DESIGN §9: they keep the last good one on disk and work from it while the DS is down.
package struct ConsensusStore: Sendable {
    package let path: String

    /// Files of evidence that are kept at most: eight pairs. One takes up to ``DirectoryLimits/consensusByteCount``.
    package static let evidenceFileLimit = 16

    package init(path: String) { self.path = path }

    /// Read the stored consensus.
    ///
    /// Whether it may still be used at this time is for the caller to ask: `isValid(now:)`.
    ///
    /// - Returns: nil if there is none, or the file is damaged, or signed by another directory's key.
    package func load(directoryKey: Ed25519PublicKey) -> Consensus? {
        guard let handle = FileHandle(forReadingAtPath: self.path) else { return nil }
        defer { try? handle.close() }
        guard let data = try? handle.read(upToCount: DirectoryLimits.consensusByteCount + 1) else { return nil }
        return try? Consensus(verifying: data, directoryKey: directoryKey)
    }

    /// Put `consensus` in place of the stored one.
    ///
    /// - Throws: what the file system says; the old one is still there then.
    package func save(_ consensus: Consensus) throws {
        try Data(consensus.bytes).write(to: URL(fileURLWithPath: self.path), options: .atomic)
    }

    /// Keep two consensuses of one revision as evidence against the directory, beside the stored one.
    ///
    /// Only the first two of a revision are kept, and ``evidenceFileLimit`` files in all: a directory can sign as many
    /// as it likes, and two prove it.
    ///
    /// - Returns: the paths of the files that prove it: these two, or those that were kept before.
    package func keepEvidence(_ one: Consensus, _ other: Consensus) throws -> [String] {
        let kept = try self.keptEvidence()
        let ofRevision = kept.filter { $0.hasPrefix("\(self.evidencePrefix)\(one.revision)-") }
        guard ofRevision.count < 2 else { return ofRevision }
        guard kept.count + 2 <= Self.evidenceFileLimit else { return kept }
        return try [one, other].map { consensus in
            let path = "\(self.evidencePrefix)\(consensus.revision)-\(consensus.digest.base64URL.prefix(12))"
            try Data(consensus.bytes).write(to: URL(fileURLWithPath: path), options: .atomic)
            return path
        }
    }

    private var evidencePrefix: String { "\(self.path).evidence-" }

    private func keptEvidence() throws -> [String] {
        // By their names: the system may write the directory's path another way.
        let directory = self.path.lastIndex(of: "/").map { String(self.path[...$0]) } ?? ""
        return try FileManager.default.contentsOfDirectory(atPath: directory.isEmpty ? "." : directory).sorted()
            .map { directory + $0 }.filter { $0.hasPrefix(self.evidencePrefix) }
    }
}
