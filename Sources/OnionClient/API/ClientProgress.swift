/// How far the client's start has come, and what it waits on. After the start, the step that it would have to take again.
public struct ClientProgress: Codable, Equatable, Sendable {
    /// 0–100; never falls during the start.
    public var percent: Int
    /// What it is doing, or waits on and why, as `40% text` is to read: `waiting for the directory server (connection refused)`.
    public var text: String

    /// Whether a circuit is open, so that requests are served at once.
    public var isReady: Bool { self.percent >= 100 }

    public init(percent: Int, text: String) {
        self.percent = min(max(percent, 0), 100)
        self.text = text
    }
}
