public import OnionCrypto

/// The receiver's half of congestion control: says which cells to acknowledge.
///
/// Counting is by cell, before streams are looked at, cells for closed streams included; the SendMe goes out on
/// receipt and not on delivery. A cell made only of SendMe, XOff and XOn is not counted.
///
/// - Source: DESIGN §7 *Circuit*
public struct SendMeReceiver: Sendable {
    /// Cells that have been counted.
    public private(set) var cellCount = 0

    public init() {}

    /// Count a cell from the other end of the circuit; returns its tag if a SendMe with it must be sent now.
    public mutating func cellReceived(tag: CellTag) -> CellTag? {
        self.cellCount += 1
        return self.cellCount.isMultiple(of: CongestionControl.incrementCellCount) ? tag : nil
    }
}
