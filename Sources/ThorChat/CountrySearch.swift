/// From which country a conversation leaves, and which is next when the server does not serve one. Pure.
///
///     the proxy's choice ── refused ──▶ the first country of the list that has an exit ── refused ──▶ the next ── … ──▶ nil
///
/// A country without an exit costs the proxy nothing and is passed over; one that is refused costs a circuit and a request,
/// so only so many are.
struct CountrySearch: Equatable, Sendable {
    /// Where OpenAI serves and routers are likely to be, the largest first.
    static let countries = [
        "us", "ca", "gb", "ie", "de", "nl", "fr", "ch", "se", "no", "dk", "fi", "is", "be", "at", "ee", "lv", "lt",
        "pl", "cz",
        "es", "pt", "it", "ro", "bg", "gr", "jp", "kr", "sg", "in", "au", "nz", "br", "mx", "za",
    ]
    /// Countries in which the server is asked, the first time not counted.
    static let limit = 8

    /// Two letters; nil: the proxy chooses.
    private(set) var country: String?
    /// For people: where the server was asked.
    private(set) var tried: [String]
    private var rest: ArraySlice<String>
    private var askedCount = 0

    /// - Parameter country: the one that the user wants; then no other is tried.
    init(country: String?) {
        self.country = country
        self.rest = country == nil ? Self.countries[...] : []
        self.tried = [country?.uppercased() ?? "the proxy's choice"]
    }

    /// The server does not serve this country.
    ///
    /// - Returns: the country to try next; nil when there is none.
    mutating func refused() -> String? {
        guard self.askedCount < Self.limit else { return nil }
        self.askedCount += 1
        return self.next()
    }

    /// There is no exit in this country.
    ///
    /// - Returns: as ``refused()``.
    mutating func unavailable() -> String? {
        self.tried.removeLast()
        return self.next()
    }

    private mutating func next() -> String? {
        guard let next = self.rest.popFirst() else { return nil }
        self.country = next
        self.tried.append(next.uppercased())
        return next
    }
}
