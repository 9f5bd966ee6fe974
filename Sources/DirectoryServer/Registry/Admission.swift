package import OnionCrypto

/// Who may register a router.
///
/// - Source: DESIGN §9, *Registration*
package enum Admission: Equatable, Sendable {
    /// Whoever asks.
    case open
    /// These identities, each with the name that the operator gave it, if any.
    case listed([Ed25519PublicKey: String])

    func admits(_ identity: Ed25519PublicKey) -> Bool {
        switch self {
        case .open: true
        case .listed(let routers): routers[identity] != nil
        }
    }
}

/// What is wrong with a line of the allow file.
package struct AllowListError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Counted from 1.
    package var line: Int
    package var problem: String

    package var description: String { "line \(self.line): \(self.problem)" }
}

/// The allow file: one fingerprint a line, then optionally a nickname; `#` starts a comment.
package enum AllowList {
    /// Parse the file's text.
    ///
    /// - Returns: the routers of the good lines, and all that is wrong with the others.
    package static func parse(_ text: String) -> (routers: [Ed25519PublicKey: String], errors: [AllowListError]) {
        var routers: [Ed25519PublicKey: String] = [:]
        var errors: [AllowListError] = []
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let content = line.prefix { $0 != "#" }
            let words = content.split(whereSeparator: \.isWhitespace)
            guard let first = words.first else { continue }
            guard words.count <= 2 else {
                errors.append(AllowListError(line: index + 1, problem: "more than a fingerprint and a nickname"))
                continue
            }
            guard let identity = Ed25519PublicKey(base64URL: String(first)) else {
                errors.append(
                    AllowListError(line: index + 1, problem: "not a fingerprint (43 characters of A-Z a-z 0-9 - _)"))
                continue
            }
            guard routers.updateValue(words.count == 2 ? String(words[1]) : "", forKey: identity) == nil else {
                errors.append(AllowListError(line: index + 1, problem: "this fingerprint is there already"))
                continue
            }
        }
        return (routers, errors)
    }
}
