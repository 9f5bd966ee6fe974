import OnionAddress
import OnionCircuits
import OnionCrypto
package import OnionDirectory

/// What one server bears of those who connect. An address is one of IPv4, or a /64 of IPv6; exits bring the connections of
/// many proxies from one.
package struct ConnectionLimits: Equatable, Sendable {
    package var total = 2048
    /// How many of those strangers leave free: for connections in TLS and for routers. At most half of all.
    package var reserved = 128
    /// Connections of one address over which no known router's link key was proved.
    package var perAddress = 512
    /// Connections of one address that have not finished TLS.
    package var halfOpenPerAddress = 128
    package var connectsPerSecond = 50
    package var connectBurst = 512
    /// Requests a second and connection, and how many at once.
    package var requestsPerSecond = 10
    package var requestBurst = 40
    /// Requests of all connections of one address but those of routers that are known.
    package var addressRequestsPerSecond = 100
    package var addressRequestBurst = 1000
    /// Registrations that cost a probe: of routers from one address that nobody knows yet, and of one that is known.
    package var registrationsPerSecond = 2
    package var registrationBurst = 256
    package var knownRegistrationBurst = 32
    /// Probes under way at once: of routers that are known, and of newcomers.
    package var probesAtOnce = 32
    /// Bytes of answers that the connections have not taken yet, of all together; a quarter is for ORs, if they need it.
    package var queuedAnswerByteCount = 128 << 20
    /// Routers that the log names in an hour for each reason why a registration is refused.
    package var loggedRefusalCount = 256
    package var helloSeconds: UInt64 = 24 * 3600

    /// - Parameter parameters: those of a test network, where all are on one machine, raise the rates of one address.
    package init(_ parameters: NetworkParameters = NetworkParameters()) {
        guard parameters.allows(.allowLoopback) else { return }
        self.halfOpenPerAddress = self.perAddress
        self.connectsPerSecond = 10_000
        self.connectBurst = 10_000
        self.addressRequestsPerSecond = 10_000
        self.addressRequestBurst = 10_000
        self.registrationsPerSecond = 1000
        self.registrationBurst = 1000
        self.knownRegistrationBurst = 1000
    }

    /// Connections that strangers may have.
    var unreserved: Int { self.total - min(self.reserved, self.total / 2) }

    /// Which of an address's connections are half-open, and whose the others are, ``ConnectionLedger`` knows.
    var connections: SourceLedger<IPPrefix>.Limits {
        SourceLedger.Limits(
            connections: self.total, reservedConnections: 0, connectionsPerSource: .max, halfOpenPerSource: .max,
            connectsPerSecond: self.connectsPerSecond, connectBurst: self.connectBurst,
            requestsPerSecond: self.addressRequestsPerSecond, requestBurst: self.addressRequestBurst)
    }

    /// For registrations alone: connections are not counted in it.
    var registrations: SourceLedger<IPPrefix>.Limits {
        self.registrations(burst: self.registrationBurst)
    }

    var knownRegistrations: SourceLedger<Ed25519PublicKey>.Limits {
        self.registrations(burst: self.knownRegistrationBurst)
    }

    private func registrations<Source>(burst: Int) -> SourceLedger<Source>.Limits {
        SourceLedger.Limits(
            connections: 0, reservedConnections: 0, connectionsPerSource: 0, halfOpenPerSource: 0,
            connectsPerSecond: 1, connectBurst: 1, requestsPerSecond: self.registrationsPerSecond, requestBurst: burst)
    }
}
