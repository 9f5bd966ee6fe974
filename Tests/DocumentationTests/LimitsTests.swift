import Foundation
import Testing

/// Keeps the list of limits honest: each test that a line names must be there, and say what the line says of it.
@Suite("Limits")
struct LimitsTests {
    /// What a column "Test" holds: suites without `Tests`, or `whole names`, each with any number of *what it says of itself*.
    private static func proofs(in column: String) -> [NamedTests.Proof] {
        var found: [NamedTests.Proof] = []
        for match in column.matches(of: #/`([^`]+)`|\*([^*]+)\*|([A-Za-z]\w*)/#) {
            if let says = match.2 {
                guard let last = found.popLast() else { continue }
                if last.says != nil { found.append(last) }
                found.append(.init(test: last.test, says: String(says)))
            } else if let name = match.1 ?? match.3.map({ $0.hasSuffix("Tests") ? $0 : $0 + "Tests" }) {
                found.append(.init(test: String(name), says: nil))
            }
        }
        return found
    }

    @Test("every limit names a test, and every test that is named is there") func proofs() throws {
        try NamedTests.expectAll(of: "Limits.md", column: "Test", atLeast: 90, read: Self.proofs)
    }

    @Test("names, and what they say, are read from a line") func reading() {
        let read = Self.proofs(in: "Flood *in all*, *at once*, RouterLoop, `flood-x`, GateTests *a storm*")
        #expect(
            read == [
                .init(test: "FloodTests", says: "in all"), .init(test: "FloodTests", says: "at once"),
                .init(test: "RouterLoopTests", says: nil), .init(test: "flood-x", says: nil),
                .init(test: "GateTests", says: "a storm"),
            ])
        #expect(Self.proofs(in: "—").isEmpty)
    }
}
