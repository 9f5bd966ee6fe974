import CoreMetrics

/// The client's counters: limits that have kept its own user's programs from something.
struct ClientMetrics: Sendable {
    let waitingRequests = Counter(label: "client.limit.waiting-requests")
    let queuedBytes = Counter(label: "client.limit.queued-bytes")
}
