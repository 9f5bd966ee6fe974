package import OnionClient

/// What the proxy tells on its ``StatusSocket``: the client's status, and what it knows itself, in one JSON object.
package struct ProxyStatus: Codable, Equatable, Sendable {
    package var client: ClientStatus
    /// Where it listens, as `127.0.0.1:1080` or `unix:/path`.
    package var listeners: [String]
    /// Whether programs have to give a password.
    package var wantsPassword: Bool
    package var traffic: TrafficMeter.Reading

    private enum CodingKeys: CodingKey { case listeners, wantsPassword, traffic }

    package init(
        client: ClientStatus, listeners: [String] = [], wantsPassword: Bool = false,
        traffic: TrafficMeter.Reading = TrafficMeter.Reading()
    ) {
        self.client = client
        self.listeners = listeners
        self.wantsPassword = wantsPassword
        self.traffic = traffic
    }

    package init(from decoder: any Decoder) throws {
        self.client = try ClientStatus(from: decoder)
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.listeners = try fields.decode([String].self, forKey: .listeners)
        self.wantsPassword = try fields.decode(Bool.self, forKey: .wantsPassword)
        self.traffic = try fields.decode(TrafficMeter.Reading.self, forKey: .traffic)
    }

    package func encode(to encoder: any Encoder) throws {
        try self.client.encode(to: encoder)
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(self.listeners, forKey: .listeners)
        try fields.encode(self.wantsPassword, forKey: .wantsPassword)
        try fields.encode(self.traffic, forKey: .traffic)
    }
}
