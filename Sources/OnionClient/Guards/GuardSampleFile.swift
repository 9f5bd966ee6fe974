import OnionCrypto

import class Foundation.FileManager

/// Keeps the guard sample in the state directory, in one file for each directory.
///
///     thor guard sample 1
///     directory <key of the directory>
///     guard <identity> <added, Unix seconds> <unlisted since, Unix seconds, or 0>     one line each, preferred first
///
/// The file is called `guards-` and the first letters of the directory's key: who runs for another network, and then
/// for the first again, finds his old guards. Once it was `guards` for every directory. That file is read while there
/// is none of the new name, and never written.
///
/// What could not be read is never written over: new guards are what a client must not get unnoticed, and the old ones
/// may be saved by hand. Such a file is moved aside, under a name that says why; one is kept of each.
struct GuardSampleFile: Sendable {
    /// Why a file gives no sample.
    enum Reason: Error, Equatable, Sendable {
        case damaged
        case anotherVersion
        case anotherDirectory
        case system(AtomicFile.Failure)

        /// Added to the name of a file that is moved aside.
        var suffix: String {
            switch self {
            case .damaged: "damaged"
            case .anotherVersion: "another-version"
            case .anotherDirectory: "another-directory"
            case .system: "unreadable"
            }
        }
    }

    /// A file that is there and gives no sample, and where it stays.
    struct Unreadable: Error, Equatable, Sendable, CustomStringConvertible {
        let path: String
        let reason: Reason
        let keptAs: String

        var description: String {
            let what =
                switch self.reason {
                case .damaged: "\(self.path) is damaged"
                case .anotherVersion: "\(self.path) was written by another version"
                case .anotherDirectory: "\(self.path) names another directory"
                case .system(let failure): "\(self.path) cannot be read (\(failure))"
                }
            return "\(what); it is kept as \(self.keptAs)"
        }
    }

    let path: String
    let directoryKey: Ed25519PublicKey
    /// Where all samples were once.
    private let earlierPath: String
    /// What ``load()`` found at ``path``; to be moved aside before anything is written there.
    private var unreadable: Unreadable?

    static let byteLimit = 64 * 1024
    static let memberLimit = 200
    private static let titleOfAnyVersion = "thor guard sample "
    private static let title = titleOfAnyVersion + "1"
    /// 72 bits, to tell directories apart.
    private static let keyCharacterCount = 12

    init(stateDirectory: String, directoryKey: Ed25519PublicKey) {
        self.earlierPath = "\(stateDirectory)/guards"
        self.path = "\(self.earlierPath)-\(directoryKey.base64URL.prefix(Self.keyCharacterCount))"
        self.directoryKey = directoryKey
    }

    /// Return the sample, or nil when there is none for this directory.
    ///
    /// - Throws: when there is a file that may hold one, and it cannot be read.
    mutating func load() throws(Unreadable) -> GuardSample? {
        self.unreadable = nil
        do throws(Reason) {
            if let sample = try self.read(self.path) { return sample }
        } catch {
            let unreadable = Unreadable(path: self.path, reason: error, keptAs: "\(self.path).\(error.suffix)")
            self.unreadable = unreadable
            throw unreadable
        }
        do throws(Reason) {
            return try self.read(self.earlierPath)
        } catch .anotherDirectory {
            return nil
        } catch {
            throw Unreadable(path: self.earlierPath, reason: error, keptAs: self.earlierPath)
        }
    }

    private func read(_ path: String) throws(Reason) -> GuardSample? {
        let bytes: [UInt8]
        do throws(AtomicFile.Failure) {
            bytes = try AtomicFile.read(path, maximumByteCount: Self.byteLimit, ownerOnly: false)
        } catch {
            switch error {
            case .notFound: return nil
            case .tooLong: throw .damaged
            case .exists, .notARegularFile, .readableByOthers, .system: throw .system(error)
            }
        }
        return try self.parse(String(decoding: bytes, as: UTF8.self))
    }

    /// Replace the file, whole or not at all.
    ///
    /// - Throws: what the file system says; also when a file that could not be read cannot be moved aside.
    mutating func save(_ sample: GuardSample) throws {
        if let unreadable {
            // An earlier one of the same kind makes way: the later holds the guards that were in use last.
            try? FileManager.default.removeItem(atPath: unreadable.keptAs)
            try FileManager.default.moveItem(atPath: unreadable.path, toPath: unreadable.keptAs)
            self.unreadable = nil
        }
        try AtomicFile.write(Array(self.text(of: sample).utf8), to: self.path, mode: 0o600, overwrite: true)
    }

    func text(of sample: GuardSample) -> String {
        let members = sample.members.map {
            "guard \($0.identity.base64URL) \($0.addedAt) \($0.unlistedSince ?? 0)\n"
        }
        return "\(Self.title)\ndirectory \(self.directoryKey.base64URL)\n" + members.joined()
    }

    func parse(_ text: String) throws(Reason) -> GuardSample {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: true)[...]
        guard let title = lines.popFirst(), title.hasPrefix(Self.titleOfAnyVersion) else { throw .damaged }
        guard title == Self.title else { throw .anotherVersion }
        let directory = lines.popFirst()?.split(separator: " ", omittingEmptySubsequences: false) ?? []
        guard directory.count == 2, directory[0] == "directory",
            let key = Ed25519PublicKey(base64URL: String(directory[1]))
        else { throw .damaged }
        guard key == self.directoryKey else { throw .anotherDirectory }
        guard lines.count <= Self.memberLimit else { throw .damaged }
        var members: [GuardSample.Member] = []
        for line in lines {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 4, words[0] == "guard", let identity = Ed25519PublicKey(base64URL: String(words[1])),
                let addedAt = UInt64(words[2]), let unlisted = UInt64(words[3]),
                !members.contains(where: { $0.identity == identity })
            else { throw .damaged }
            members.append(
                GuardSample.Member(
                    identity: identity, addedAt: addedAt, unlistedSince: unlisted == 0 ? nil : unlisted))
        }
        return GuardSample(members: members)
    }
}
