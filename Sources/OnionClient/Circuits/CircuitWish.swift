import OnionCrypto
import OnionDirectory

/// What the last hop of a circuit must be good for.
struct CircuitWish: Hashable, Sendable {
    var lastHop: PathConstraints.LastHop
    var countries: PathConstraints.Countries = .any
    /// The one router wanted as last hop.
    var exit: Ed25519PublicKey?

    /// The part of it that an application may have asked for.
    var exitWish: ExitWish {
        let countries: ExitWish.Countries =
            switch self.countries {
            case .any: .any
            case .only(let wanted): .only(wanted)
            case .not(let unwanted): .not(unwanted)
            }
        return ExitWish(countries: countries, router: self.exit)
    }

    static func port(_ port: UInt16) -> CircuitWish { CircuitWish(lastHop: .exit(port: port)) }
    static func port(_ port: UInt16, exit: ExitWish) -> CircuitWish {
        CircuitWish(lastHop: .exit(port: port), countries: exit.countries.constraint, exit: exit.router)
    }
    static func resolver(_ exit: ExitWish) -> CircuitWish {
        CircuitWish(lastHop: .resolver, countries: exit.countries.constraint, exit: exit.router)
    }
    static let resolver = CircuitWish.resolver(.any)
    static let directory = CircuitWish(lastHop: .directory)

    var isForDirectory: Bool { self.lastHop == .directory }

    /// Whether it asks for more than what the last hop is to do, so that there may be no such router.
    var isChoosy: Bool { self.countries != .any || self.exit != nil }

    /// Whether a circuit that ends at `router` will do; the rule of the path draw.
    func isMet(by router: ConsensusRouter) -> Bool {
        if let exit, exit != router.identity { return false }
        switch self.countries {
        case .any: break
        case .only(let wanted): guard wanted.contains(router.country) else { return false }
        case .not(let unwanted): guard !unwanted.contains(router.country) else { return false }
        }
        return switch self.lastHop {
        case .exit(let port): router.flags.contains(.exit) && router.exitPolicy.mayAllow(port: port)
        case .resolver: router.flags.contains(.exit)
        case .directory: true
        }
    }

    func constraints(excluding: Set<Ed25519PublicKey>) -> PathConstraints {
        PathConstraints(lastHop: self.lastHop, exclude: excluding, countries: self.countries, exit: self.exit)
    }
}
