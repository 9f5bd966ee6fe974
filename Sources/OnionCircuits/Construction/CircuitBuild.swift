public import OnionCells

/// A client's construction of one circuit along a path.
///
///     idle ──start──▶ waiting(0) ──createdReceived──▶ verifying(0) ──handshakeCompleted──▶ waiting(1) ──▶ …
///                                    (then extendedReceived)                  └─ after the last hop ─▶ ready
///     any but ready ── handshakeFailed, timerFired, destroyed, truncated, linkLost ──▶ failed
///     ready ── destroyed, truncated, linkLost ──▶ failed
///
/// It holds no keys: the shell makes Create and Extend when an action says so, verifies the reply when one says so (off
/// the event loop if it likes; hence *verifying*), and reports the outcome.
///
/// What impossible events are: a reply while none is due is the peer's fault (throws); `start` twice and an outcome
/// while nothing is being verified are our bug (asserted, dropped in a release); everything after `failed` is an
/// allowed race (dropped).
///
/// - Source: DESIGN §6.1, §6.3; indices count from 0, the guard
public struct CircuitBuild<Hop: Equatable & Sendable>: Sendable {
    public enum Action: Equatable, Sendable {
        /// Send Create to the first hop, and start the build timer.
        case sendCreate(to: Hop)
        /// Ask hop number `from` to extend to hop number `from + 1`, in a RelayEarly cell.
        case sendExtend(to: Hop, from: Int)
        /// Finish the handshake with the hop that was waited for.
        case verifyHandshake(hop: Int)
        /// The circuit is complete.
        case ready
        /// Destroy what there is of the circuit, and tell who waits for it.
        case failed(CircuitError)
        /// Nothing: the circuit had failed already.
        case none
    }

    private enum State: Sendable, Equatable {
        case idle
        case waiting(hop: Int)
        case verifying(hop: Int)
        case ready
        case failed
    }

    public let path: [Hop]
    private var state: State = .idle

    /// - Precondition: the path has a hop.
    public init(path: [Hop]) {
        precondition(!path.isEmpty, "a circuit has at least one hop")
        self.path = path
    }

    // Facts

    public var isReady: Bool { self.state == .ready }
    public var isFailed: Bool { self.state == .failed }

    /// How many hops share keys with us.
    public var hopCount: Int {
        switch self.state {
        case .idle, .failed: 0
        case .waiting(let hop), .verifying(let hop): hop
        case .ready: self.path.count
        }
    }

    /// The hop that something is awaited from; nil when nothing is.
    public var awaitedHop: Int? {
        switch self.state {
        case .waiting(let hop), .verifying(let hop): hop
        case .idle, .ready, .failed: nil
        }
    }

    /// Where hop number `hop` stands in ``RelayRules`` when the client recognises a cell from it.
    public func position(of hop: Int) -> RelayRules.Position {
        switch self.state {
        case .waiting(let awaited):
            hop == awaited - 1 ? .extendingHop : .innerHop
        // Extended has come: the hop before is an inner hop as soon as the handshake is verified. Until then it is
        // still the last, but says nothing but Truncated.
        case .verifying: .innerHop
        case .ready: hop == self.path.count - 1 ? .lastHop : .innerHop
        case .idle, .failed: .innerHop
        }
    }

    // Events

    public mutating func start() -> Action {
        switch self.state {
        case .idle:
            self.state = .waiting(hop: 0)
            return .sendCreate(to: self.path[0])
        case .waiting, .verifying, .ready:
            assertionFailure("started twice")
            return .none
        case .failed: return .none
        }
    }

    /// A Created cell came over the link to the first hop.
    ///
    /// - Throws: ``CircuitError/replyNotDue``.
    public mutating func createdReceived() throws(CircuitError) -> Action {
        switch self.state {
        case .waiting(hop: 0):
            self.state = .verifying(hop: 0)
            return .verifyHandshake(hop: 0)
        case .idle, .waiting, .verifying, .ready: throw .replyNotDue
        case .failed: return .none
        }
    }

    /// Extended was recognised, from hop number `hop`.
    ///
    /// - Throws: ``CircuitError/replyNotDue`` unless an Extend to just that hop is outstanding.
    public mutating func extendedReceived(from hop: Int) throws(CircuitError) -> Action {
        switch self.state {
        case .waiting(let awaited):
            guard hop == awaited - 1 else { throw .replyNotDue }
            self.state = .verifying(hop: awaited)
            return .verifyHandshake(hop: awaited)
        case .idle, .verifying, .ready: throw .replyNotDue
        case .failed: return .none
        }
    }

    /// The handshake that was to be verified gave keys.
    public mutating func handshakeCompleted() -> Action {
        switch self.state {
        case .verifying(let hop):
            let next = hop + 1
            guard next < self.path.count else {
                self.state = .ready
                return .ready
            }
            self.state = .waiting(hop: next)
            return .sendExtend(to: self.path[next], from: hop)
        case .idle, .waiting, .ready:
            assertionFailure("no handshake was being verified")
            return .none
        case .failed: return .none
        }
    }

    /// The handshake that was to be verified gave no keys, or its bytes make no sense.
    public mutating func handshakeFailed() -> Action {
        switch self.state {
        case .waiting(let hop), .verifying(let hop): return self.fail(.handshakeFailed(hop: hop))
        case .idle, .ready:
            assertionFailure("no handshake was being verified")
            return .none
        case .failed: return .none
        }
    }

    /// The time to build the circuit is over. Too late, and without effect, once it is ready.
    public mutating func timerFired() -> Action {
        switch self.state {
        case .waiting(let hop), .verifying(let hop): return self.fail(.buildTimedOut(hop: hop))
        case .idle: return self.fail(.buildTimedOut(hop: 0))
        case .ready, .failed: return .none
        }
    }

    /// A Destroy cell came.
    public mutating func destroyReceived(_ reason: DestroyReason) -> Action {
        self.fail(.destroyed(hop: self.awaitedHop, reason))
    }

    /// Truncated was recognised, from hop number `hop`: to the client the circuit is dead.
    public mutating func truncatedReceived(from hop: Int, _ reason: DestroyReason) -> Action {
        self.fail(.truncated(by: hop, reason))
    }

    /// The link to the first hop is lost.
    public mutating func linkLost() -> Action { self.fail(.linkLost) }

    /// Another rule was broken, by ourselves or a peer, or the circuit is not wanted any more.
    public mutating func abandon(_ error: CircuitError) -> Action { self.fail(error) }

    private mutating func fail(_ error: CircuitError) -> Action {
        guard self.state != .failed else { return .none }
        self.state = .failed
        return .failed(error)
    }
}
