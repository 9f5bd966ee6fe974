import CoreMetrics

/// The OR's counters: totals alone, so that no series says anything of one circuit or one client.
struct RouterMetrics: Sendable {
    let circuits = Counter(label: "router.circuits.created")
    let violations = Counter(label: "router.protocol.violations")
    let cellsForUnknownCircuits = Counter(label: "router.cells.unknown.circuit")
    let openedStreams = Counter(label: "router.streams.opened")
    let refusedStreams = Counter(label: "router.streams.refused")
    /// Circuits that went because all queues together held too much.
    let relievedCircuits = Counter(label: "router.circuits.relieved")
}
