public import OnionCrypto

/// What a path must be good for.
public struct PathConstraints: Hashable, Sendable {
    /// What the last hop will be asked for.
    public enum LastHop: Hashable, Sendable {
        /// To connect to this port, so it has the exit flag and a policy that may allow it.
        case exit(port: UInt16)
        /// To look up names: it has the exit flag.
        case resolver
        /// To reach the directory server, which every OR does.
        case directory
    }

    /// Wishes about the country of the last hop, in capitals. An OR that names no country matches no `only`.
    public enum Countries: Hashable, Sendable {
        case any
        case only(Set<String>)
        case not(Set<String>)
    }

    public var lastHop: LastHop
    /// Routers that have just failed, at any place.
    public var exclude: Set<Ed25519PublicKey>
    public var countries: Countries
    /// The one router wanted as last hop.
    public var exit: Ed25519PublicKey?

    public init(
        lastHop: LastHop, exclude: Set<Ed25519PublicKey> = [], countries: Countries = .any,
        exit: Ed25519PublicKey? = nil
    ) {
        self.lastHop = lastHop
        self.exclude = exclude
        self.countries = countries
        self.exit = exit
    }

    /// A path for a stream to `port`; nil for one that only looks up names.
    public init(
        port: UInt16?, exclude: Set<Ed25519PublicKey> = [], countries: Countries = .any,
        exit: Ed25519PublicKey? = nil
    ) {
        self.init(
            lastHop: port.map { .exit(port: $0) } ?? .resolver, exclude: exclude, countries: countries, exit: exit)
    }

    /// Whether `router` can be the last hop, whatever the others are.
    func allowsLastHop(_ router: ConsensusRouter) -> Bool {
        if let exit, router.identity != exit { return false }
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
}

/// Why there is no path.
public enum PathError: Error, Equatable, Sendable, CustomStringConvertible {
    /// None of the guards is in the consensus with its flag; or, with an empty sample, nobody has the flag.
    case noUsableGuard
    /// No router meets the wishes for the last hop.
    case noLastHop(PathConstraints.LastHop)
    /// There are guards and last hops, but no three routers that are unrelated.
    case tooFewUnrelatedRouters

    public var description: String {
        switch self {
        case .noUsableGuard: "no router of the guard sample is running"
        case .noLastHop(.exit(let port)):
            "no router's exit policy allows port \(port) (with the country and exit asked for)"
        case .noLastHop(.resolver): "no router is an exit (in the country asked for)"
        case .noLastHop(.directory): "no router is running"
        case .tooFewUnrelatedRouters:
            "no three routers of different families and networks (IPv4 /16, IPv6 /32) are running"
        }
    }
}
