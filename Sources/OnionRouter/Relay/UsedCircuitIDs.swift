import OnionCells

/// The circuit ids that a peer has used on one link, as ranges: those that count up take one.
///
/// - Invariant: ranges are ascending, and no two touch.
/// - Complexity: O(log n) for the usual id that follows the last; O(n) otherwise, n being at most ``rangeLimit``.
/// - Source: DESIGN §5.1: a Create with an id ever used on the link is refused.
struct UsedCircuitIDs: Sendable {
    /// More holes than this no honest peer makes: its link takes no more circuits.
    static let rangeLimit = 4096

    private var ranges: [ClosedRange<UInt32>] = []

    /// Note `id` as used; false if it was, or if the peer has left too many holes.
    mutating func insert(_ id: CircuitID) -> Bool {
        let value = id.rawValue
        // The first range that does not end before the value.
        var low = 0
        var high = self.ranges.count
        while low < high {
            let middle = (low + high) / 2
            if self.ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
        }
        if low < self.ranges.count, self.ranges[low].contains(value) { return false }
        let joinsBefore = low > 0 && self.ranges[low - 1].upperBound == value &- 1
        let joinsAfter = low < self.ranges.count && self.ranges[low].lowerBound == value &+ 1
        switch (joinsBefore, joinsAfter) {
        case (true, true):
            self.ranges[low - 1] = self.ranges[low - 1].lowerBound...self.ranges[low].upperBound
            self.ranges.remove(at: low)
        case (true, false): self.ranges[low - 1] = self.ranges[low - 1].lowerBound...value
        case (false, true): self.ranges[low] = value...self.ranges[low].upperBound
        case (false, false):
            guard self.ranges.count < Self.rangeLimit else { return false }
            self.ranges.insert(value...value, at: low)
        }
        return true
    }
}
