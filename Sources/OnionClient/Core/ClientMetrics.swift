import CoreMetrics

/// The client's counters: limits that have kept its own user's programs from something.
struct ClientMetrics: Sendable {
    let circuits = Counter(label: "client.limit.circuits")
    let waitingRequests = Counter(label: "client.limit.waiting-requests")
    let queuedBytes = Counter(label: "client.limit.queued-bytes")
}
