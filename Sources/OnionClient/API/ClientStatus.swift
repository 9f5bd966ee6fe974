/// What a client is doing at this moment: progress, guard and circuits. Destinations only if it was told to reveal them.
///
/// It tells which ORs the user goes through, so it is only for the user: it is never logged.
public struct ClientStatus: Codable, Equatable, Sendable {
    public var progress: ClientProgress
    /// The routers that streams can leave by, whatever their port.
    public var exits: [Hop]
    /// All routers of the consensus, with what software each says that it runs.
    public var routers: [Hop]
    /// The consensus in use; nil before there is one.
    public var consensus: Consensus?
    /// The guard that circuits begin at; nil before one has been chosen.
    public var `guard`: Hop?
    /// All circuits that are open or being built, oldest first.
    public var circuits: [Circuit]
    /// Circuits built, and circuits that failed while being built, since the start.
    public var builtCircuitCount: UInt64
    public var failedCircuitCount: UInt64
    /// Streams open now.
    public var openStreamCount: Int
    /// Of five circuits, four were built faster than this; nil until enough have been.
    public var usualBuildSeconds: Double?
    /// After how long a circuit that is being built is given up; learned from the one above.
    public var buildLimitSeconds: Double?

    public init(
        progress: ClientProgress, exits: [Hop] = [], routers: [Hop] = [], consensus: Consensus? = nil,
        guard: Hop? = nil, circuits: [Circuit] = [],
        builtCircuitCount: UInt64 = 0, failedCircuitCount: UInt64 = 0, openStreamCount: Int = 0,
        usualBuildSeconds: Double? = nil, buildLimitSeconds: Double? = nil
    ) {
        self.progress = progress
        self.exits = exits
        self.routers = routers
        self.consensus = consensus
        self.guard = `guard`
        self.circuits = circuits
        self.builtCircuitCount = builtCircuitCount
        self.failedCircuitCount = failedCircuitCount
        self.openStreamCount = openStreamCount
        self.usualBuildSeconds = usualBuildSeconds
        self.buildLimitSeconds = buildLimitSeconds
    }

    /// The consensus in use.
    public struct Consensus: Codable, Equatable, Sendable {
        public var revision: UInt64
        public var routerCount: Int
        /// End of validity, in Unix seconds.
        public var validUntil: UInt64

        public init(revision: UInt64, routerCount: Int, validUntil: UInt64) {
            self.revision = revision
            self.routerCount = routerCount
            self.validUntil = validUntil
        }
    }

    /// One OR of a path.
    public struct Hop: Codable, Equatable, Sendable {
        /// The identity, in unpadded base64url.
        public var fingerprint: String
        public var nickname: String
        /// `address:port` of the OR.
        public var address: String
        /// Two letters, or empty.
        public var country: String
        /// What it says that it runs, as `thor 0.1.0`. Only in ``ClientStatus/routers``.
        public var software: String?
        /// How long the circuit took from the hop before (for the first: from its beginning, so the link to the guard
        /// included, if there was none) until this one had answered. Only for hops of circuits.
        public var buildSeconds: Double?
        /// The round trip from here to this hop and back. To the last hop of a circuit that has carried enough, a smoothed
        /// measurement by acknowledged cells. Else the one exchange with the hop when the circuit was built: it
        /// includes the hop's handshake, and its predecessor's connecting to it, if that had no link; so it is an upper bound.
        public var roundTripSeconds: Double?

        public init(fingerprint: String, nickname: String, address: String, country: String = "") {
            self.fingerprint = fingerprint
            self.nickname = nickname
            self.address = address
            self.country = country
        }
    }

    /// One circuit.
    public struct Circuit: Codable, Equatable, Sendable {
        public enum State: String, Codable, Sendable {
            /// Not all hops answered yet.
            case building
            /// Takes new streams.
            case open
            /// Takes no new streams; the ones it has go on.
            case retiring
        }
        public var state: State
        /// In path order; for a circuit that is being built, the path it is to have.
        public var hops: [Hop]
        public var ageSeconds: Double
        /// From its beginning until all hops had answered; nil while it is being built.
        public var buildSeconds: Double?
        /// The round trip to the last hop: that of its ``Hop/roundTripSeconds``.
        public var roundTripSeconds: Double?
        /// Streams open on it now.
        public var streamCount: Int
        /// Streams and look-ups that it has carried so far, those included.
        public var carriedStreamCount: Int
        /// Where its open streams go, as `host:port`; nil unless the client was told to reveal it.
        public var destinations: [String]?

        public init(
            state: State, hops: [Hop], ageSeconds: Double, buildSeconds: Double? = nil, roundTripSeconds: Double? = nil,
            streamCount: Int, carriedStreamCount: Int = 0, destinations: [String]? = nil
        ) {
            self.state = state
            self.hops = hops
            self.ageSeconds = ageSeconds
            self.buildSeconds = buildSeconds
            self.roundTripSeconds = roundTripSeconds
            self.streamCount = streamCount
            self.carriedStreamCount = carriedStreamCount
            self.destinations = destinations
        }
    }
}
