package import OnionDirectory

/// A question to the world: does this router answer where it says, with the keys it says?
package struct RouterProbe: Equatable, Sendable {
    /// Answers to an older probe of the same router are told apart by it.
    package let number: UInt64
    package let descriptor: SignedDescriptor
    /// Whether the router has never been proved: those who are known do not wait behind strangers.
    package var isNewcomer = false
}

/// What a probe found.
package enum ProbeOutcome: Equatable, Sendable {
    case completed
    /// No connection to the advertised address.
    case unreachable
    /// Something answers there, but not with the router's keys.
    case handshakeFailed
}

/// Why a registration was refused.
package enum RegistrationRefusal: Error, Equatable, Sendable {
    case notAdmitted
    /// The connection's certificate is not the link key that the descriptor names, or there is none.
    case wrongLinkKey
    /// A descriptor of the same router with a higher sequence is known.
    case older
    /// The descriptor is of another time: one of the clocks is wrong.
    case clockOff
    /// It names several addresses, or one that is not on the public Internet.
    case unusableAddress
    /// The probe could not connect.
    case unreachable
    /// The probe could connect, but not complete a circuit handshake.
    case handshakeFailed
    case registryFull
    /// As many that nobody knows yet are being probed as may be.
    case tooManyNewcomers
    /// The router, or newcomers from its address, have registered too often of late.
    case tooOften
    /// A newer registration of the same router took over.
    case superseded
}

/// Why a router is in the list, or is not any more: for the operator.
package enum ListingReason: String, Sendable {
    case registered = "registered"
    case answersAgain = "it answers again"
    case listedBefore = "listed before the server's start"
    case heldWithMost = "kept, as most vanished at once"
    case heartbeatsMissed = "heartbeats missed"
    case closed = "its connection closed, and it does not answer"
    case refused = "registered anew, and does not answer"
    case notBack = "kept for a while, and did not come back"
    case notAdmitted = "not in the allow file any more"
}

extension Registry {
    package enum RegistrationDecision: Equatable, Sendable {
        case refuse(RegistrationRefusal)
        /// Probe, and close the connection that this one replaces.
        case probe(RouterProbe, closing: ConnectionID?)
    }

    package enum ProbeDecision: Equatable, Sendable {
        /// Nobody waits for this probe, or it was superseded.
        case none
        case accept(ConnectionID)
        case refuse(ConnectionID, RegistrationRefusal)
    }

    package enum HeartbeatDecision: Equatable, Sendable {
        case acknowledge
        /// It was out of the consensus: probe it, then it may come back.
        case acknowledgeAndProbe(RouterProbe)
        /// No router is registered over this connection.
        case notRegistered
        /// The counter did not go up: the peer's fault.
        case counterNotRising
    }

    /// What a consensus is to say; the server signs it.
    package struct Publication: Equatable, Sendable {
        package var revision: UInt64
        /// Unix seconds.
        package var validAfter, freshUntil, validUntil: UInt64
        package var routers: [ConsensusRouter]
    }
}
