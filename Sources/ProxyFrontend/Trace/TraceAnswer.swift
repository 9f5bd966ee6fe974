internal import OnionClient

/// What the proxy answers to `trace`; if there is no failure, the stream follows on the same connection.
struct TraceAnswer: Codable, Equatable, Sendable {
    var trace: StreamTrace
    /// One sentence for people; nil if the stream is open.
    var failure: String?
}
