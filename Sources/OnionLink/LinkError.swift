package import OnionCells

/// Why a link could not be opened or had to be closed.
package enum LinkError: Error, Equatable, Sendable {
    /// A node without a link key was asked to listen.
    case noCredentials
    /// TLS did not come up in time.
    case handshakeTimedOut
    /// The peer does not speak this version of the link protocol.
    case wrongProtocol
    /// TLS came up, but the peer's NetInfo did not come in time.
    case netInfoTimedOut
    /// The peer broke a rule of the link in a cell that names no circuit.
    case malformedCell(CellError)
    /// A cell that may only come first came later, or another came first.
    case unexpectedCell(CellCommand)
    /// The peer stopped answering while its connection stayed open.
    case frozen
    /// The peer closed the connection, or it broke.
    case closed
}
