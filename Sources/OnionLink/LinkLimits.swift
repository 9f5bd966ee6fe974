package import NIOCore

/// What a link may hold, as the network parameters say.
///
/// - Source: DESIGN §7 *Link*
package struct LinkLimits: Sendable, Equatable {
    /// The longest queue of one circuit, in cells: the largest congestion window and 64 cells.
    package var queuedCellsPerCircuit: Int
    /// All queues of a link together, in cells; past it those circuits go that have more than their part of it.
    package var queuedCellsPerLink: Int
    /// How long a link without a circuit stays open.
    package var unusedAfter: TimeAmount

    /// After how much silence a link with circuits is pinged, and after how much it is given up.
    package var pingAfter: TimeAmount
    package var frozenAfter: TimeAmount

    package init(
        queuedCellsPerCircuit: Int, queuedCellsPerLink: Int, unusedAfter: TimeAmount = .seconds(60),
        pingAfter: TimeAmount = .seconds(1), frozenAfter: TimeAmount = .milliseconds(2500)
    ) {
        self.queuedCellsPerCircuit = queuedCellsPerCircuit
        self.queuedCellsPerLink = queuedCellsPerLink
        self.unusedAfter = unusedAfter
        self.pingAfter = pingAfter
        self.frozenAfter = frozenAfter
    }
}
