public import OnionCells
public import OnionCrypto

/// An OR's rules for one circuit: the RelayEarly budget, Extend, and how the circuit ends in either direction.
///
///              extendReceived              nextHopCreated
///     last ─────────────────▶ extending ─────────────────▶ relaying
///      │                          │ nextHopGone                │ nextHopGone
///      ▼                          ▼                            ▼
///    closed ◀──── any broken rule, or the previous hop is gone; with Truncated where the fault lies ahead
///
/// It holds no key, cell or link; the shell opens cells, asks here what to do with them, and does it.
///
/// - Source: DESIGN §5.1, §6.1 *Extend*, §6.2, §6.3
public struct RouterCircuit: Sendable, Equatable {
    /// How many RelayEarly cells a circuit may have.
    public static let relayEarlyBudget = 8

    private enum State: Sendable, Equatable { case last, extending, relaying, closed }
    private var state: State = .last
    private var relayEarlyLeft: UInt8 = UInt8(relayEarlyBudget)

    /// Start when Created has been sent.
    public init() {}

    public var isLastHop: Bool { self.state == .last || self.state == .extending }
    public var isExtending: Bool { self.state == .extending }
    public var isClosed: Bool { self.state == .closed }

    /// Where this OR stands in ``RelayRules``.
    public var position: RelayRules.Position {
        switch self.state {
        case .last: .lastHop
        case .extending: .extendingHop
        case .relaying, .closed: .innerHop
        }
    }

    // Cells

    /// A Relay or RelayEarly cell came from the client's side. Ask before it is opened.
    ///
    /// - Throws: ``CircuitError/tooManyRelayEarly`` at the ninth RelayEarly; ``CircuitError/replyNotDue`` for another
    ///   command, which is no relay cell.
    public mutating func forwardCellReceived(_ command: CellCommand) throws(CircuitError) {
        switch command {
        case .relay: return
        case .relayEarly:
            guard self.relayEarlyLeft > 0 else { throw .tooManyRelayEarly }
            self.relayEarlyLeft -= 1
        case .padding, .create, .created, .destroy, .netInfo, .ping, .pong: throw .replyNotDue
        }
    }

    /// A cell came from the next hop, after Extended was sent. Needs no state, as it is asked on the next link's loop.
    ///
    /// - Throws: ``CircuitError/relayEarlyBackward``; ``CircuitError/replyNotDue`` for what is no relay cell.
    public static func backwardCellReceived(_ command: CellCommand) throws(CircuitError) {
        switch command {
        case .relay: return
        case .relayEarly: throw .relayEarlyBackward
        case .padding, .create, .created, .destroy, .netInfo, .ping, .pong: throw .replyNotDue
        }
    }

    /// The cipher did not recognise a forward cell. Returns if it is to be passed to the next hop.
    ///
    /// - Throws: ``CircuitError/cellNotRecognised`` where there is none, or while an Extend is pending.
    public func cellNotRecognised() throws(CircuitError) {
        guard self.state == .relaying else { throw .cellNotRecognised }
    }

    /// The cipher recognised a forward cell that holds this message.
    ///
    /// - Throws: ``CircuitError/messageNotAllowed(_:)``, or the error that an Extend out of turn has.
    public func messageReceived(_ command: RelayCommand) throws(CircuitError) {
        if command == .extend, self.state != .last { throw .extendTwice }
        try RelayRules.check(command, .forward, self.position)
    }

    // Extend

    /// An Extend came. Returns if the OR is to create a circuit towards `target`.
    ///
    /// - Parameters:
    ///   - command: the link cell that it came in.
    ///   - previousHop: the OR on the client's side; nil if that is a client.
    /// - Throws: the peer's fault, by name.
    public mutating func extendReceived(
        to target: Ed25519PublicKey, in command: CellCommand, ownIdentity: Ed25519PublicKey,
        previousHop: Ed25519PublicKey?
    ) throws(CircuitError) {
        guard self.state == .last else { throw .extendTwice }
        guard command == .relayEarly else { throw .extendNotInRelayEarly }
        guard target != ownIdentity else { throw .extendToSelf }
        guard target != previousHop else { throw .extendToPreviousHop }
        self.state = .extending
    }

    public enum OnCreated: Sendable, Equatable {
        /// Originate Extended, then move the backward state to the next link's loop.
        case sendExtended
        /// The circuit ended meanwhile: destroy the new one.
        case destroyNextHop(DestroyReason)
    }

    /// Created came from the next hop.
    ///
    /// - Throws: ``CircuitError/replyNotDue`` for a second one; the next hop's fault.
    public mutating func nextHopCreated() throws(CircuitError) -> OnCreated {
        switch self.state {
        case .extending:
            self.state = .relaying
            return .sendExtended
        case .last, .relaying: throw .replyNotDue
        case .closed: return .destroyNextHop(.unspecified)
        }
    }

    // Ends

    public enum OnFarEnd: Sendable, Equatable {
        /// Originate Truncated with the reason, then send Destroy with it.
        case truncateThenDestroy(DestroyReason)
        /// The circuit had ended already.
        case none
    }

    /// There is no way ahead: the next OR is unknown or unreachable, destroyed the circuit, or its link is lost.
    ///
    /// - Parameter reason: what this OR itself saw; a Destroy's own reason is never copied along
    ///   (``DestroyReason/destroyedByNextHop``).
    public mutating func nextHopGone(_ reason: DestroyReason) -> OnFarEnd {
        switch self.state {
        case .extending, .relaying:
            self.state = .closed
            return .truncateThenDestroy(reason)
        case .last:
            assertionFailure("there is no next hop")
            return .none
        case .closed: return .none
        }
    }

    public enum OnNearEnd: Sendable, Equatable {
        /// Send Destroy with reason 0 to the next hop.
        case destroyNextHop(DestroyReason)
        /// Give up the connection or the Create that is under way, and destroy what comes of it.
        case abandonExtend
        /// There is no next hop: end the streams.
        case endStreams
        /// The circuit had ended already.
        case none
    }

    /// The client's side is gone: a Destroy, a lost link.
    public mutating func previousHopGone() -> OnNearEnd {
        defer { self.state = .closed }
        switch self.state {
        case .last: return .endStreams
        case .extending: return .abandonExtend
        case .relaying: return .destroyNextHop(.unspecified)
        case .closed: return .none
        }
    }

    /// This OR ends the circuit because of an error: Destroy goes towards the client with the error's reason, and what
    /// is returned is to be done on the far side.
    public mutating func failed() -> OnNearEnd { self.previousHopGone() }
}
