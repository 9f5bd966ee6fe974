internal import CoreMetrics

/// The front end's counters: limits that have kept a local program from something.
struct ProxyMetrics: Sendable {
    let connections = Counter(label: "proxy.limit.connections")
    let statusConnections = Counter(label: "proxy.limit.status-connections")
}
