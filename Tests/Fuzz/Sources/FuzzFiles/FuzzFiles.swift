@testable import DirectoryServer
@testable import OnionClient
@testable import OnionCrypto

/// The files that a program of ours reads: private keys, plain and with a passphrase, the guard sample, the allow file. What
/// is taken is written as it was read. The first byte says which file; then its text.
enum FuzzFiles {
    /// Returns whether the file is one.
    static func feed(_ bytes: [UInt8]) -> Bool {
        guard let first = bytes.first else { return false }
        let text = Array(bytes.dropFirst())
        switch first & 3 {
        case 0: return Self.privateKey(text, .ed25519)
        case 1: return Self.privateKey(text, .x25519)
        case 2: return Self.guards(text)
        default: return Self.allowFile(text)
        }
    }

    // MARK: Private keys

    private static let passphrase = Array("word".utf8)
    private struct Expensive: Error {}

    private static func privateKey(_ text: [UInt8], _ kind: KeyFile.Kind) -> Bool {
        var isAsked = false
        let seed = try? KeyFile.seed(in: text, of: "key", kind: kind) {
            isAsked = true
            // A guess at the passphrase may cost seconds, and each input would be one.
            guard Self.isCheap(text) else { throw Expensive() }
            return Self.passphrase
        }
        guard let seed else { return false }
        precondition(seed.byteCount == PassphraseBox.seedByteCount, "a key has another length")
        guard !isAsked else { return true }
        // A plain file has one form, but for the ends of its lines.
        let lines = String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline)
        let header = KeyFile.headerPrefix + kind.rawValue
        precondition(
            lines.count == 2 && lines[0] == header && lines[1] == seed.withBytes { Base64URL.encode($0) },
            "a key is written otherwise than it was read")
        return true
    }

    private static func isCheap(_ text: [UInt8]) -> Bool {
        let lines = String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
        guard lines.count == 3, let sealed = Base64URL.decode(lines[2]),
            let box = PassphraseBox(parameterLine: lines[1], sealed: sealed)
        else { return false }
        precondition(box.cost.isAllowed, "a file may make us work for ever")
        let again = PassphraseBox(parameterLine: box.parameterLine, sealed: box.sealed)
        precondition(again?.cost == box.cost && again?.salt == box.salt, "what a passphrase costs prints as another")
        return box.cost.passes <= 2 && box.cost.memoryKiB <= 64
    }

    // MARK: Guards

    private static let directoryKey: Ed25519PublicKey = {
        guard let key = Ed25519PublicKey(rawBytes: [UInt8](repeating: 3, count: 32)) else { fatalError("no key") }
        return key
    }()
    private static let guardFile = GuardSampleFile(stateDirectory: "state", directoryKey: Self.directoryKey)

    private static func guards(_ text: [UInt8]) -> Bool {
        guard let sample = try? Self.guardFile.parse(String(decoding: text, as: UTF8.self)) else { return false }
        precondition(sample.members.count <= GuardSampleFile.memberLimit, "there are too many guards")
        precondition(
            Set(sample.members.map(\.identity)).count == sample.members.count, "a guard is in the sample twice")
        precondition(
            (try? Self.guardFile.parse(Self.guardFile.text(of: sample))) == sample, "a sample is written otherwise")
        return true
    }

    // MARK: Routers that may join

    private static func allowFile(_ text: [UInt8]) -> Bool {
        let text = String(decoding: text, as: UTF8.self)
        let (routers, errors) = AllowList.parse(text)
        let lineCount = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).count
        precondition(routers.count + errors.count <= lineCount, "a line says two things")
        precondition(errors.allSatisfy { (1...lineCount).contains($0.line) }, "a line that is not there is wrong")
        let again = AllowList.parse(routers.map { "\($0.key.base64URL) \($0.value)" }.joined(separator: "\n"))
        precondition(again.routers == routers && again.errors.isEmpty, "routers are written otherwise")
        return !routers.isEmpty && errors.isEmpty
    }

    static var seeds: [[UInt8]] {
        let seed = SecretMemory(byteCount: PassphraseBox.seedByteCount, protection: .plain) { target in
            for index in target.indices { target[index] = UInt8(truncatingIfNeeded: index * 7) }
        }
        let fingerprint = Self.directoryKey.base64URL
        var files: [(UInt8, String)] = []
        for (number, kind) in [KeyFile.Kind.ed25519, .x25519].enumerated() {
            let header = KeyFile.headerPrefix + kind.rawValue
            files.append((UInt8(number), "\(header)\n\(seed.withBytes { Base64URL.encode($0) })\n"))
            let context = header + KeyFile.passphraseSuffix
            if let box = PassphraseBox(
                sealing: seed, passphrase: Self.passphrase, cost: .least, context: context)
            {
                files.append((UInt8(number), "\(context)\n\(box.parameterLine)\n\(Base64URL.encode(box.sealed))\n"))
            }
        }
        files.append((2, Self.guardFile.text(of: GuardSample(members: []))))
        files.append((2, Self.guardFile.text(of: GuardSample(members: [])) + "guard \(fingerprint) 1795000000 0\n"))
        files.append((3, "# routers\n\(fingerprint) amber # the first\n\n\(String(repeating: "A", count: 43))\n"))
        return files.map { [$0.0] + Array($0.1.utf8) }
    }
}
