/// Why a circuit ended, as far as the wire tells. Unauthenticated, so nobody acts on it beyond counting.
///
/// - Source: DESIGN §5.1 *Destroy*
public enum DestroyReason: UInt8, Sendable, CaseIterable {
    /// Nothing is said; what an OR passes on from the client's side.
    case unspecified = 0
    /// The peer broke a rule of the protocol.
    case protocolViolation = 1
    /// A circuit handshake failed. No more is said on purpose.
    case handshakeFailed = 2
    /// The next OR is not known or could not be connected to.
    case connectFailed = 3
    /// The link to the next OR was lost or frozen.
    case linkLost = 4
    /// A limit was reached.
    case resourceLimit = 5
    /// The client has no more use for the circuit.
    case finished = 6
    /// The OR is shutting down.
    case shuttingDown = 7
    /// The next OR destroyed the circuit.
    case destroyedByNextHop = 8

    /// Read a reason from the wire; one that nobody knows says nothing.
    public init(wire: UInt8) { self = Self(rawValue: wire) ?? .unspecified }
}

/// Why one side of a stream ended. Sent inside the onion by the last hop or the client, so it can be believed.
///
/// ``finished`` closes the sender's direction only; every other reason ends both at once.
///
/// - Source: DESIGN §6.3
public enum EndReason: UInt8, Sendable, CaseIterable {
    /// Nothing is said.
    case unspecified = 0
    /// The sender's direction is complete; the other goes on.
    case finished = 1
    /// The destination refused the connection.
    case connectionRefused = 2
    /// The name does not exist.
    case noSuchName = 3
    /// The name servers failed or did not answer.
    case resolveFailed = 4
    case hostUnreachable = 5
    case networkUnreachable = 6
    /// The destination did not answer in time, or an established stream was idle for too long.
    case timedOut = 7
    /// The exit's policy forbids the destination.
    case exitPolicy = 8
    /// The connection was reset.
    case reset = 9
    /// A limit of the exit was reached.
    case resourceLimit = 10
    /// This OR does not do that: no exit, or a stream on a one-hop circuit.
    case notAllowed = 11
    /// The OR is shutting down.
    case shuttingDown = 12

    /// Read a reason from the wire; one that nobody knows says nothing.
    public init(wire: UInt8) { self = Self(rawValue: wire) ?? .unspecified }
}
