public import OnionCells

/// Why a circuit, or one of its streams, cannot go on: what happened, what it reaches, and what to do about it.
///
/// Every case but ``parametersInvalid(_:)`` ends the circuit. The peer learns ``destroyReason`` alone, which does not
/// tell one broken rule from another; the detail stays here.
///
/// - Source: DESIGN §5.1 *Destroy*, §6.3, §7
public enum CircuitError: Error, Equatable, Sendable {
    // The peer's fault: congestion control.

    /// A SendMe when none was due.
    case sendMeNotDue
    /// A SendMe that does not carry the tag that is due: its sender claims credit for cells that it has not received.
    case sendMeTagWrong

    // The peer's fault: relay cells and messages.

    /// A relay cell that nobody on this side recognises.
    case cellNotRecognised
    /// A recognised cell whose messages do not parse.
    case malformedCell(CellError)
    /// More RelayEarly cells than a circuit may have.
    case tooManyRelayEarly
    /// A RelayEarly cell towards the client.
    case relayEarlyBackward
    /// A relay message that its sender may not send in its place.
    case messageNotAllowed(RelayCommand)
    /// An Extend in a plain Relay cell.
    case extendNotInRelayEarly
    /// An Extend while another is pending, or where there is a next hop.
    case extendTwice
    /// An Extend to the OR itself.
    case extendToSelf
    /// An Extend to the hop before.
    case extendToPreviousHop
    /// A Created, Extended, or link cell in a state that does not wait for one.
    case replyNotDue

    // The peer's fault: streams.

    /// A message for a stream that never was.
    case streamUnknown(StreamID)
    /// A stream id that was used before in this circuit.
    case streamIDReused(StreamID)
    /// A message on a stream after its sender's own End, or Data before Connected.
    case messageAfterEnd(RelayCommand)
    case messageBeforeConnected(RelayCommand)
    /// Data past XOff and past all that can have been in flight.
    case dataPastXOff
    /// XOff and XOn that do not alternate.
    case xOffOutOfTurn
    /// More XOff and XOn than their minimum distance allows.
    case xOffStorm

    // The circuit, or the network below it.

    /// Too much waits for the circuit, or it is the victim of a process-wide limit.
    case resourceLimit
    /// The handshake with the hop failed: a stale onion key, or not the OR that was asked for.
    case handshakeFailed(hop: Int)
    /// The circuit was not complete in time; it was waiting for `hop`.
    case buildTimedOut(hop: Int)
    /// An OR ended the circuit. `hop` is the one that it was waiting for, or nil once it was complete.
    case destroyed(hop: Int?, DestroyReason)
    /// Hop `by` said that what comes after it is lost.
    case truncated(by: Int, DestroyReason)
    /// The link to the first hop was lost.
    case linkLost

    // Configuration.

    /// Congestion parameters that DESIGN §7 refuses.
    case parametersInvalid(CongestionParameters.Fault)

    /// What an error brings down.
    public enum Scope: Equatable, Sendable {
        case circuit, process
    }

    /// What to do next. Retry code reads this and nothing else.
    public enum Recovery: Equatable, Sendable {
        /// Build another circuit; nothing speaks against any of its hops.
        case newPath
        /// Build another circuit that leaves out the hop at this index.
        case newPathWithout(hop: Int)
        /// Ask for a newer consensus, as this one may name a stale key; then build another circuit.
        case refreshConsensusThenNewPath
        /// Open a new link to the guard, then build another circuit.
        case newLink
        /// Wait, then build another circuit.
        case waitThenNewPath
        /// A person has to change the setting.
        case fixConfiguration(String)
    }

    public var scope: Scope {
        switch self {
        case .sendMeNotDue, .sendMeTagWrong, .cellNotRecognised, .malformedCell, .tooManyRelayEarly,
            .relayEarlyBackward,
            .messageNotAllowed, .extendNotInRelayEarly, .extendTwice, .extendToSelf, .extendToPreviousHop,
            .replyNotDue, .streamUnknown, .streamIDReused, .messageAfterEnd, .messageBeforeConnected, .dataPastXOff,
            .xOffOutOfTurn, .xOffStorm, .resourceLimit, .handshakeFailed, .buildTimedOut, .destroyed, .truncated,
            .linkLost:
            .circuit
        case .parametersInvalid: .process
        }
    }

    public var recovery: Recovery {
        switch self {
        case .sendMeNotDue, .sendMeTagWrong, .cellNotRecognised, .malformedCell, .tooManyRelayEarly,
            .relayEarlyBackward,
            .messageNotAllowed, .extendNotInRelayEarly, .extendTwice, .extendToSelf, .extendToPreviousHop,
            .replyNotDue, .streamUnknown, .streamIDReused, .messageAfterEnd, .messageBeforeConnected, .dataPastXOff,
            .xOffOutOfTurn, .xOffStorm:
            .newPath
        case .resourceLimit: .waitThenNewPath
        case .handshakeFailed: .refreshConsensusThenNewPath
        case .buildTimedOut(let hop): .newPathWithout(hop: hop)
        case .destroyed(let hop, _): hop.map { .newPathWithout(hop: $0) } ?? .newPath
        case .truncated(let hop, _): .newPathWithout(hop: hop + 1)
        case .linkLost: .newLink
        case .parametersInvalid(let fault): .fixConfiguration(fault.advice)
        }
    }

    /// What a Destroy sent because of this error says.
    public var destroyReason: DestroyReason {
        switch self {
        case .sendMeNotDue, .sendMeTagWrong, .cellNotRecognised, .malformedCell, .tooManyRelayEarly,
            .relayEarlyBackward,
            .messageNotAllowed, .extendNotInRelayEarly, .extendTwice, .extendToSelf, .extendToPreviousHop,
            .replyNotDue, .streamUnknown, .streamIDReused, .messageAfterEnd, .messageBeforeConnected, .dataPastXOff,
            .xOffOutOfTurn, .xOffStorm:
            .protocolViolation
        case .resourceLimit: .resourceLimit
        case .handshakeFailed: .handshakeFailed
        // The client says no more than that it is done; an OR passes on reason 0 whatever it is (DESIGN §5.1).
        case .buildTimedOut, .destroyed, .truncated: .finished
        case .linkLost: .linkLost
        case .parametersInvalid: .unspecified
        }
    }
}
