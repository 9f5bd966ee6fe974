public import OnionCrypto
import OnionDirectory

/// What an application wants of the exit that its stream leaves by. What cannot be met fails; it is never passed over.
///
/// - Source: DESIGN §10, *Isolation*
public struct ExitWish: Hashable, Sendable {
    /// In which countries the exit may be, as two capital letters each. A router that names no country is in none of them.
    public enum Countries: Hashable, Sendable {
        case any
        case only(Set<String>)
        case not(Set<String>)
    }

    public var countries: Countries
    /// The one router wanted.
    public var router: Ed25519PublicKey?

    /// Every exit will do.
    public static let any = ExitWish()

    public init(countries: Countries = .any, router: Ed25519PublicKey? = nil) {
        self.countries = countries
        self.router = router
    }

    /// The wish that is met by what meets both; by nothing, if they contradict each other.
    public func narrowed(by other: ExitWish) -> ExitWish {
        var both = ExitWish(
            countries: self.countries.narrowed(by: other.countries), router: self.router ?? other.router)
        if let mine = self.router, let theirs = other.router, mine != theirs { both.countries = .only([]) }
        return both
    }
}

extension ExitWish.Countries {
    func narrowed(by other: Self) -> Self {
        switch (self, other) {
        case (.any, let wanted), (let wanted, .any): wanted
        case (.only(let mine), .only(let theirs)): .only(mine.intersection(theirs))
        case (.only(let wanted), .not(let unwanted)), (.not(let unwanted), .only(let wanted)):
            .only(wanted.subtracting(unwanted))
        case (.not(let mine), .not(let theirs)): .not(mine.union(theirs))
        }
    }

    var constraint: PathConstraints.Countries {
        switch self {
        case .any: .any
        case .only(let wanted): .only(wanted)
        case .not(let unwanted): .not(unwanted)
        }
    }
}
