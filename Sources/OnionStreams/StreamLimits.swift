package import NIOCore
package import OnionCircuits

/// What a stream may hold and how long it may idle, as the network parameters say.
///
/// - Source: DESIGN §6.3, §7 *Stream* and *Edges*
package struct StreamLimits: Sendable {
    /// Begin and Resolve messages in one cell.
    package static let openingsPerCell = 8
    /// With fewer bytes that wait for cells the socket is read on; with so many, or more, it is read again once all have left.
    package static let outboxByteCount = 16 * 1024

    /// When to say XOff and XOn about bytes that the socket has not taken.
    package var gate: StreamGate.Limits
    /// How long a half-closed stream may be idle.
    package var halfClosedIdle: TimeAmount
    /// Streams that are over, refused ones among them, and that wait for cells to say so, at the exit.
    package var waitingStreamCount: Int

    package init(gate: StreamGate.Limits, halfClosedIdle: TimeAmount, waitingStreamCount: Int = 1024) {
        self.gate = gate
        self.halfClosedIdle = halfClosedIdle
        self.waitingStreamCount = waitingStreamCount
    }
}
