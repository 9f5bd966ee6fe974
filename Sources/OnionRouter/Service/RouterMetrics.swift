import CoreMetrics

/// The OR's counters: totals alone, so that no series says anything of one circuit or one client.
struct RouterMetrics: Sendable {
    let circuits = Counter(label: "router.circuits.created")
    let violations = Counter(label: "router.protocol.violations")
    let cellsForUnknownCircuits = Counter(label: "router.cells.unknown.circuit")
    let openedStreams = Counter(label: "router.streams.opened")
    let refusedStreams = Counter(label: "router.streams.refused")
    private let limits = Dictionary(
        uniqueKeysWithValues: RouterLimit.allCases.map { ($0, Counter(label: "router.limit.\($0.rawValue)")) })

    /// A limit has kept somebody from something.
    func reached(_ limit: RouterLimit) { self.limits[limit]?.increment() }
}

/// The limits of an OR that count when they bite; <doc:Limits> says what each does.
enum RouterLimit: String, CaseIterable, Sendable {
    case connections
    case connectionsPerAddress = "connections-per-address"
    case halfOpenPerAddress = "half-open-per-address"
    case connectsPerAddress = "connects-per-address"
    case circuits
    case circuitsPerAddress = "circuits-per-address"
    case circuitsPerLink = "circuits-per-link"
    case createsPerAddress = "creates-per-address"
    case handshakeQueue = "handshake-queue"
    case handshakeAge = "handshake-age"
    case streams
    case directoryStreams = "directory-streams"
    case directoryBegins = "directory-begins"
    case streamsPerCircuit = "streams-per-circuit"
    case beginsPerCircuit = "begins-per-circuit"
    case lookupsPerCircuit = "lookups-per-circuit"
    case lookups
    case largeBuffers = "large-buffers"
    /// A queue of one circuit or one link.
    case linkQueue = "link-queue"
    /// All queues together.
    case queuedBytes = "queued-bytes"
}
