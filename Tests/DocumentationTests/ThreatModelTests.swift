import Foundation
import Testing

/// Keeps the threat model honest: each test that a line names as its proof must be there.
@Suite("Threat model")
struct ThreatModelTests {
    @Test("every promise names a test, and every test that is named is there") func proofs() throws {
        try NamedTests.expectAll(of: "ThreatModel.md", column: "Shown by", atLeast: 30, read: NamedTests.proofs)
    }

    @Test("a test that is not there, and words that it does not say, are found out") func faults() {
        let document = """
            | Promise | How | Shown by |
            | --- | --- | --- |
            | good | so | `GoodTests` *holds the door*, `Tests/Fuzz` |
            | bad | so | nothing |

            | Other | Table |
            | --- | --- |
            | a | `NoTests` |
            """
        let lines = NamedTests.lines(of: document, column: "Shown by")
        #expect(lines.map(\.first) == ["good", "bad"])
        let proofs = NamedTests.proofs(in: lines[0].column)
        #expect(proofs == [.init(test: "GoodTests", says: "holds the door"), .init(test: "Tests/Fuzz", says: nil)])
        #expect(NamedTests.proofs(in: lines[1].column).isEmpty)
        let tests = [
            "Tests/ATests/GoodTests.swift": "struct GoodTests { @Test(\"Holds the door\")", "Tests/Fuzz/x.swift": "",
            "Tests/EndToEnd/checks_a.py": "",
        ]
        let others = ["checks_a.py", "make test", "cell-replayed", "flood-…"].map {
            NamedTests.Proof(test: $0, says: nil)
        }
        for proof in proofs + others { #expect(NamedTests.fault(proof, in: tests) == nil) }
        #expect(NamedTests.fault(.init(test: "GoodTests", says: "holds the wall"), in: tests) != nil)
        #expect(NamedTests.fault(.init(test: "Good", says: nil), in: tests) != nil)
        #expect(NamedTests.fault(.init(test: "Tests/Fu", says: nil), in: tests) != nil)
        for name in ["checks_b.py", "make tests", "cell-replay", "flud-…"] {
            #expect(NamedTests.fault(.init(test: name, says: nil), in: tests) != nil)
        }
    }
}
