package import OnionClient

/// How one request went, from the wish for a circuit to the first byte of the answer. Times are in seconds.
///
/// As JSON it is one object: the fields of ``stream`` and its own.
package struct RequestTrace: Codable, Equatable, Sendable {
    /// Where a request can end without an answer.
    package struct Failure: Codable, Equatable, Sendable {
        /// `circuit`, `resolve`, `connect`, `tls` or `request`.
        package var step: String
        /// One sentence for people.
        package var text: String
    }

    package var url: String
    package var stream: StreamTrace
    /// The TLS handshake with the server, in this program, through the circuit; nil for `http`.
    package var tlsSeconds: Double?
    /// From sending the request until the first byte of the answer came.
    package var firstByteSeconds: Double?
    /// The status of the answer.
    package var httpStatus: Int?
    /// All of it.
    package var totalSeconds: Double?
    package var failure: Failure?

    private enum CodingKeys: CodingKey { case url, tlsSeconds, firstByteSeconds, httpStatus, totalSeconds, failure }

    package init(url: String, stream: StreamTrace) {
        self.url = url
        self.stream = stream
    }

    package init(from decoder: any Decoder) throws {
        self.stream = try StreamTrace(from: decoder)
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.url = try fields.decode(String.self, forKey: .url)
        self.tlsSeconds = try fields.decodeIfPresent(Double.self, forKey: .tlsSeconds)
        self.firstByteSeconds = try fields.decodeIfPresent(Double.self, forKey: .firstByteSeconds)
        self.httpStatus = try fields.decodeIfPresent(Int.self, forKey: .httpStatus)
        self.totalSeconds = try fields.decodeIfPresent(Double.self, forKey: .totalSeconds)
        self.failure = try fields.decodeIfPresent(Failure.self, forKey: .failure)
    }

    package func encode(to encoder: any Encoder) throws {
        try self.stream.encode(to: encoder)
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(self.url, forKey: .url)
        try fields.encodeIfPresent(self.tlsSeconds, forKey: .tlsSeconds)
        try fields.encodeIfPresent(self.firstByteSeconds, forKey: .firstByteSeconds)
        try fields.encodeIfPresent(self.httpStatus, forKey: .httpStatus)
        try fields.encodeIfPresent(self.totalSeconds, forKey: .totalSeconds)
        try fields.encodeIfPresent(self.failure, forKey: .failure)
    }
}
