import OnionAddress
public import OnionCells

/// Why a stream or a look-up came to nothing.
public enum StreamFailure: Error, Equatable, Sendable {
    /// The exit said why.
    case ended(EndReason)
    /// No circuit could be built, or every circuit that was tried died, within the patience for a request.
    case noCircuit
    /// All the circuits that the client may have are in use by others, or too many are waited for.
    case tooManyCircuits
    /// The request cannot be sent at all: the host is empty, too long or holds a NUL, or the port is 0.
    case invalidRequest
    /// No exit of the consensus allows this port.
    case noExitAllows(port: UInt16)
    /// No exit of the consensus is as wished, in particular none in that country.
    case noExitMeets(ExitWish)
    /// The application's words begin like a wish for an exit, and cannot be read as one.
    case wishNotUnderstood
    /// The user wants no destinations by address.
    case addressRefused
    /// The client cannot build circuits, yet or any more; the text says what it waits on.
    case notReady(String)
    /// The client is stopping.
    case shuttingDown
}

extension StreamFailure {
    /// What a log may say of it: nothing of what the program asked for.
    package var logText: String {
        switch self {
        case .noExitAllows(let port): "noExitAllows(port: \(Scrubbed(port)))"
        case .noExitMeets(let wish): "noExitMeets(\(Scrubbed(wish)))"
        case .ended, .noCircuit, .tooManyCircuits, .invalidRequest, .wishNotUnderstood, .addressRefused, .notReady,
            .shuttingDown:
            "\(self)"
        }
    }
}
