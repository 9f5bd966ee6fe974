import OnionCrypto

/// Wishes as people write them: `se`, `not-us`, `country-se`, `country-se+alice`, `exit-FINGERPRINT`.
extension ExitWish: CustomStringConvertible {
    /// Something that begins like a wish, and is none.
    public struct Malformed: Error, Equatable, Sendable { public init() {} }

    private static let countryPrefix = "country-"
    private static let exitPrefix = "exit-"
    private static let notPrefix = "not-"

    /// Read a country: two letters, or `not-` and two letters; nil if it is neither.
    public init?(country text: String) {
        let text = text.lowercased()
        let isNegative = text.hasPrefix(Self.notPrefix)
        let code = isNegative ? text.dropFirst(Self.notPrefix.count) : text[...]
        guard code.utf8.count == 2, code.utf8.allSatisfy({ (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) })
        else { return nil }
        self.init(countries: isNegative ? .not([code.uppercased()]) : .only([code.uppercased()]))
    }

    /// Read a router's fingerprint; nil if it is none.
    public init?(fingerprint text: String) {
        guard let router = Ed25519PublicKey(base64URL: text) else { return nil }
        self.init(router: router)
    }

    /// Read the wish that a user name begins with. What follows a `+` only tells users apart.
    ///
    /// - Throws: ``Malformed`` for a name that begins with `country-` or `exit-` and goes on as no country or fingerprint
    ///   does: to take it for an ordinary name would let the stream out anywhere.
    public init(userName: some Collection<UInt8>) throws(Malformed) {
        let name = String(decoding: userName.prefix { $0 != UInt8(ascii: "+") }, as: UTF8.self)
        let wish: ExitWish?
        if name.lowercased().hasPrefix(Self.countryPrefix) {
            wish = ExitWish(country: String(name.dropFirst(Self.countryPrefix.count)))
        } else if name.lowercased().hasPrefix(Self.exitPrefix) {
            wish = ExitWish(fingerprint: String(name.dropFirst(Self.exitPrefix.count)))
        } else {
            wish = .any
        }
        guard let wish else { throw Malformed() }
        self = wish
    }

    public var description: String {
        var parts: [String] = []
        switch self.countries {
        case .any: break
        case .only(let wanted) where wanted.isEmpty: parts.append("in two countries at once")
        case .only(let wanted): parts.append("in \(wanted.sorted().joined(separator: " or "))")
        case .not(let unwanted): parts.append("not in \(unwanted.sorted().joined(separator: " or "))")
        }
        if let router { parts.append("with the fingerprint \(router.base64URL)") }
        return parts.isEmpty ? "anywhere" : parts.joined(separator: " ")
    }
}
