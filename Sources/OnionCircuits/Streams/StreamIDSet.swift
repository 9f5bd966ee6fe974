public import OnionCells

/// A set of stream ids as a bit field, as long as its largest id needs: at most 8 KiB for a circuit's whole life.
public struct StreamIDSet: Sendable, Equatable {
    private var words: [UInt64] = []
    public private(set) var count = 0

    public init() {}

    public func contains(_ id: StreamID) -> Bool {
        let word = Int(id.rawValue >> 6)
        guard word < self.words.count else { return false }
        return self.words[word] & Self.bit(id) != 0
    }

    /// Add an id; returns false if it was there.
    @discardableResult
    public mutating func insert(_ id: StreamID) -> Bool {
        let word = Int(id.rawValue >> 6)
        if word >= self.words.count {
            self.words.append(contentsOf: repeatElement(0, count: word + 1 - self.words.count))
        }
        guard self.words[word] & Self.bit(id) == 0 else { return false }
        self.words[word] |= Self.bit(id)
        self.count += 1
        return true
    }

    /// Remove an id; returns false if it was not there.
    @discardableResult
    public mutating func remove(_ id: StreamID) -> Bool {
        guard self.contains(id) else { return false }
        self.words[Int(id.rawValue >> 6)] &= ~Self.bit(id)
        self.count -= 1
        return true
    }

    private static func bit(_ id: StreamID) -> UInt64 { 1 << UInt64(id.rawValue & 63) }
}
