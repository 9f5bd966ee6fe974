import OnionCells

/// Decides whether a request that came to nothing on one circuit is tried on another.
///
/// Bytes that the application sent ahead go out with Begin. Once they have, they may have reached the destination, and a
/// request must not be delivered twice: there is no retry, unless they are a TLS ClientHello, which does nothing. An exit
/// that says it has not connected has delivered nothing.
///
/// A destination that cannot be reached may only be refusing the exit, and a name that cannot be looked up may be the fault of
/// the exit's name servers: a few others are asked before the application hears of it, and it hears what the destination did,
/// not what became of the other tries.
///
/// - Source: DESIGN §10
struct StreamRetry: Equatable, Sendable {
    enum Decision: Equatable, Sendable {
        /// Try on another circuit of the same isolation; by another exit if this one has refused.
        case tryAgain(byAnotherExit: Bool)
        case fail(StreamFailure)
    }

    private let limit: Int
    private let otherExitLimit: Int
    private let mayRepeat: Bool
    private(set) var retryCount = 0
    /// What is to be told when no other exit can be found.
    private(set) var lastFailure: StreamFailure?
    private var siteRefusalCount = 0
    private var siteFailure: StreamFailure?

    /// - Parameters:
    ///   - limit: tries after the first, whatever the reason.
    ///   - otherExitLimit: tries by other exits when the destination cannot be reached.
    ///   - earlyData: what goes out with Begin.
    init(limit: Int, otherExitLimit: Int, earlyData: some Collection<UInt8>) {
        self.limit = limit
        self.otherExitLimit = otherExitLimit
        self.mayRepeat = earlyData.isEmpty || TLSClientHello.isBeginning(of: earlyData)
    }

    /// The circuit ended after Begin and before Connected.
    mutating func circuitDied() -> Decision {
        guard self.mayRepeat else { return .fail(.noCircuit) }
        return self.again(.noCircuit, byAnotherExit: false)
    }

    /// The exit has not answered in time.
    mutating func timedOut() -> Decision {
        guard self.mayRepeat else { return .fail(.ended(.timedOut)) }
        return self.again(.ended(.timedOut), byAnotherExit: true)
    }

    /// The exit refused.
    mutating func refused(_ reason: EndReason) -> Decision {
        switch reason {
        // It is about the exit, not the destination.
        case .exitPolicy, .notAllowed, .resourceLimit, .shuttingDown:
            self.again(.ended(reason), byAnotherExit: true)
        case .connectionRefused, .hostUnreachable, .networkUnreachable, .timedOut, .reset, .resolveFailed:
            self.siteRefused(reason)
        case .unspecified, .finished, .noSuchName: .fail(.ended(reason))
        }
    }

    /// Whether a reason is about the destination as one exit sees it, so that another may see it otherwise.
    static func isOfSite(_ reason: EndReason) -> Bool {
        switch reason {
        case .connectionRefused, .hostUnreachable, .networkUnreachable, .timedOut, .reset, .resolveFailed: true
        case .unspecified, .finished, .noSuchName, .exitPolicy, .notAllowed, .resourceLimit, .shuttingDown: false
        }
    }

    private mutating func siteRefused(_ reason: EndReason) -> Decision {
        self.siteFailure = .ended(reason)
        self.siteRefusalCount += 1
        guard self.siteRefusalCount <= self.otherExitLimit else { return .fail(.ended(reason)) }
        return self.again(.ended(reason), byAnotherExit: true)
    }

    private mutating func again(_ failure: StreamFailure, byAnotherExit: Bool) -> Decision {
        let failure = self.siteFailure ?? failure
        self.lastFailure = failure
        guard self.retryCount < self.limit else { return .fail(failure) }
        self.retryCount += 1
        return .tryAgain(byAnotherExit: byAnotherExit)
    }
}
