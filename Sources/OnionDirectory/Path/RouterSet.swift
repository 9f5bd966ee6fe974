/// Some of a consensus's routers, by their places in it: a bit for each.
struct RouterSet: Equatable, Sendable {
    private var words: [UInt64]

    /// - Parameter count: of all the routers there are.
    init(_ indices: some Sequence<Int>, of count: Int) {
        self.words = Array(repeating: 0, count: (count + 63) / 64)
        for index in indices { self.insert(index) }
    }

    var isEmpty: Bool { self.words.allSatisfy { $0 == 0 } }

    func contains(_ index: Int) -> Bool { self.words[index / 64] & Self.bit(index) != 0 }

    mutating func insert(_ index: Int) { self.words[index / 64] |= Self.bit(index) }

    mutating func remove(_ index: Int) { self.words[index / 64] &= ~Self.bit(index) }

    mutating func formUnion(_ other: RouterSet) {
        for word in self.words.indices { self.words[word] |= other.words[word] }
    }

    func subtracting(_ other: RouterSet) -> RouterSet {
        var result = self
        for word in result.words.indices { result.words[word] &= ~other.words[word] }
        return result
    }

    func isSubset(of other: RouterSet) -> Bool {
        self.words.indices.allSatisfy { self.words[$0] & ~other.words[$0] == 0 }
    }

    func forEach(_ body: (Int) -> Void) {
        _ = self.first {
            body($0)
            return false
        }
    }

    /// The first, in ascending order, that is meant.
    func first(where isMeant: (Int) -> Bool) -> Int? {
        for word in self.words.indices {
            var bits = self.words[word]
            while bits != 0 {
                let index = word * 64 + bits.trailingZeroBitCount
                if isMeant(index) { return index }
                bits &= bits - 1
            }
        }
        return nil
    }

    private static func bit(_ index: Int) -> UInt64 { 1 << UInt64(index % 64) }
}
