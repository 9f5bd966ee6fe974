/// How one stream came about: which circuit it is on, and how long each step took. Times are in seconds.
///
/// It tells relays and a destination, so it is only for the user: it is never logged.
public struct StreamTrace: Codable, Equatable, Sendable {
    /// What is done in order to open a stream.
    public enum Step: String, Codable, Sendable, CaseIterable {
        /// Get a circuit that suits: one that was built ahead, or a new one.
        case circuit
        /// Look the name up at the exit.
        case resolve
        /// Have the exit connect.
        case connect
    }

    public var host: String
    public var port: UInt16
    /// The circuit, as it was at the end; nil: there was none.
    public var circuit: ClientStatus.Circuit?
    /// How long the request waited for a circuit.
    public var circuitWaitSeconds: Double?
    /// From the question to the exit's answer, so a round trip through the circuit included; nil for an address.
    public var resolveSeconds: Double?
    /// What the name resolved to.
    public var addresses: [String] = []
    /// From Begin to Connected: a round trip through the circuit, and the exit's connecting to an address.
    public var connectSeconds: Double?
    /// Where the exit did connect to.
    public var connectedAddress: String?
    /// Streams that were tried, by this exit or others, before one was connected or all had failed.
    public var tryCount = 0
    /// Where it ended, if it came to nothing.
    public var failedStep: Step?

    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }
}

/// A stream that was opened to see how, or why there is none.
public struct TracedStream: Sendable {
    public var trace: StreamTrace
    /// Like any other stream, to be attached or discarded.
    public var result: Result<OpenedStream, StreamFailure>

    public init(trace: StreamTrace, result: Result<OpenedStream, StreamFailure>) {
        self.trace = trace
        self.result = result
    }
}
