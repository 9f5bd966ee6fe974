import CoreMetrics

/// The directory server's counters: totals alone.
struct ServerMetrics: Sendable {
    let registrations = Counter(label: "directory.registrations.accepted")
    let consensuses = Counter(label: "directory.consensuses.published")
    /// A limit has kept somebody from something.
    let reached: @Sendable (ServerLimit) -> Void

    init(reached: @escaping @Sendable (ServerLimit) -> Void = Self.countingLimits()) { self.reached = reached }

    private static func countingLimits() -> @Sendable (ServerLimit) -> Void {
        let counters = Dictionary(
            uniqueKeysWithValues: ServerLimit.allCases.map { ($0, Counter(label: "directory.limit.\($0.rawValue)")) })
        return { counters[$0]?.increment() }
    }
}

/// The limits of a directory server that count when they bite; <doc:Limits> says what each does.
enum ServerLimit: String, CaseIterable, Sendable {
    case connections
    case connectionsPerAddress = "connections-per-address"
    case halfOpenPerAddress = "half-open-per-address"
    case connectsPerAddress = "connects-per-address"
    case requestsPerConnection = "requests-per-connection"
    case requestsPerAddress = "requests-per-address"
    case registrationsPerAddress = "registrations-per-address"
    case registrationsPerRouter = "registrations-per-router"
    case newcomers
    case registry
    case loggedRefusals = "logged-refusals"
    case answerBytes = "answer-bytes"
}
