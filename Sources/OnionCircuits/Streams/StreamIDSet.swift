public import OnionCells

/// A set of stream ids as a sparse bit field: 10 bytes for each 64 ids of which one is in it, 10 KiB at most.
///
/// - Invariant: `numbers` is ascending, and no word is zero.
/// - Complexity: O(log n) to look up, O(n) to add or remove a word, n being ``wordCount``, 1024 at most.
public struct StreamIDSet: Sendable, Equatable {
    private static let idsPerWord = 64

    /// Which words there are: an id's is its 64th part.
    private var numbers: [UInt16] = []
    private var words: [UInt64] = []
    public private(set) var count = 0

    public init() {}

    /// What the set costs, in words.
    public var wordCount: Int { self.words.count }

    /// How many words more there are than as many ids in a row would fill.
    var spareWordCount: Int { self.wordCount - self.count / Self.idsPerWord }

    public func contains(_ id: StreamID) -> Bool {
        let (number, bit) = Self.place(of: id)
        let index = self.index(of: number)
        return index < self.numbers.count && self.numbers[index] == number && self.words[index] & bit != 0
    }

    /// Add an id; returns false if it was there.
    @discardableResult
    public mutating func insert(_ id: StreamID) -> Bool {
        let (number, bit) = Self.place(of: id)
        let index = self.index(of: number)
        if index < self.numbers.count, self.numbers[index] == number {
            guard self.words[index] & bit == 0 else { return false }
            self.words[index] |= bit
        } else {
            self.numbers.insert(number, at: index)
            self.words.insert(bit, at: index)
        }
        self.count += 1
        return true
    }

    /// Remove an id; returns false if it was not there.
    @discardableResult
    public mutating func remove(_ id: StreamID) -> Bool {
        guard self.contains(id) else { return false }
        let (number, bit) = Self.place(of: id)
        let index = self.index(of: number)
        self.words[index] &= ~bit
        if self.words[index] == 0 {
            self.numbers.remove(at: index)
            self.words.remove(at: index)
        }
        self.count -= 1
        return true
    }

    private static func place(of id: StreamID) -> (number: UInt16, bit: UInt64) {
        (id.rawValue / UInt16(Self.idsPerWord), 1 << UInt64(id.rawValue % UInt16(Self.idsPerWord)))
    }

    /// The first word that is not before that of this number.
    private func index(of number: UInt16) -> Int {
        var low = 0
        var high = self.numbers.count
        while low < high {
            let middle = (low + high) / 2
            if self.numbers[middle] < number { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
