import AttackSuite
import Foundation
import Testing

/// Keeps the threat model honest: each test that a line names as its proof must be there.
@Suite("Threat model")
struct ThreatModelTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The text of every test, by its path below the root.
    private static let tests: [String: String] = {
        let folder = Self.root.appendingPathComponent("Tests")
        var found: [String: String] = [:]
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
        while let file = files?.nextObject() as? URL {
            let path = String(file.path.dropFirst(Self.root.path.count + 1))
            guard ["swift", "py"].contains(file.pathExtension), !path.contains("/.build"),
                let text = try? String(contentsOf: file, encoding: .utf8)
            else { continue }
            found[path] = text
        }
        return found
    }()

    private static let makefile =
        (try? String(contentsOf: Self.root.appendingPathComponent("Makefile"), encoding: .utf8)) ?? ""

    /// What a line's last column holds: `test`, and *what it says of itself*, any number of times.
    struct Proof: Equatable {
        var test: String
        var says: String?
    }

    static func proofs(in column: String) -> [Proof] {
        column.matches(of: #/`([^`]+)`(?:\s+\*([^*]+)\*)?/#).map {
            Proof(test: String($0.1), says: $0.2.map(String.init))
        }
    }

    /// The rows of all tables with a column "Shown by": promise and proofs.
    static func lines(of document: String) -> [(promise: String, column: String)] {
        var isShown = false
        var found: [(promise: String, column: String)] = []
        for line in document.split(separator: "\n", omittingEmptySubsequences: false) {
            guard line.hasPrefix("|") else {
                isShown = false
                continue
            }
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            if cells.last == "Shown by" {
                isShown = true
            } else if isShown, let first = cells.first, !first.hasPrefix("---") {
                found.append((first, cells.last ?? ""))
            }
        }
        return found
    }

    /// Say what is wrong with a proof; nil if the test is there and says so.
    static func fault(_ proof: Proof, in tests: [String: String]) -> String? {
        if proof.test.hasPrefix("make ") {
            let isThere = Self.makefile.contains("\n\(proof.test.dropFirst("make ".count)):")
            return isThere ? nil : "there is no `\(proof.test)`"
        }
        // An attack of `thor-testnet attack`, or several that begin alike.
        if let attacks = try? AttackCatalogue.select([proof.test.replacing("-…", with: "")]), !attacks.isEmpty {
            return nil
        }
        let texts: [String]
        if proof.test.hasPrefix("Tests/") {
            texts = tests.filter { $0.key.hasPrefix(proof.test + "/") || $0.key == proof.test }.map(\.value)
        } else if proof.test.hasSuffix(".py") {
            texts = tests.filter { $0.key.hasSuffix("/" + proof.test) }.map(\.value)
        } else {
            texts = tests.filter {
                $0.key.hasSuffix("/\(proof.test).swift") || $0.value.contains("struct \(proof.test) {")
            }
            .map(\.value)
        }
        if texts.isEmpty { return "there is no test `\(proof.test)`" }
        guard let says = proof.says else { return nil }
        let isSaid = texts.contains { $0.range(of: says, options: .caseInsensitive) != nil }
        return isSaid ? nil : "`\(proof.test)` does not say *\(says)*"
    }

    @Test("every promise names a test, and every test that is named is there") func proofs() throws {
        let path = Self.root.appendingPathComponent("Docs/Onion.docc/ThreatModel.md")
        let lines = Self.lines(of: try String(contentsOf: path, encoding: .utf8))
        #expect(lines.count >= 30)
        for line in lines {
            let proofs = Self.proofs(in: line.column)
            #expect(!proofs.isEmpty, "nothing shows: \(line.promise)")
            for proof in proofs {
                let fault = Self.fault(proof, in: Self.tests)
                #expect(fault == nil, "\(line.promise): \(fault ?? "")")
            }
        }
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
        let lines = Self.lines(of: document)
        #expect(lines.map(\.promise) == ["good", "bad"])
        let proofs = Self.proofs(in: lines[0].column)
        #expect(proofs == [.init(test: "GoodTests", says: "holds the door"), .init(test: "Tests/Fuzz", says: nil)])
        #expect(Self.proofs(in: lines[1].column).isEmpty)
        let tests = [
            "Tests/ATests/GoodTests.swift": "struct GoodTests { @Test(\"Holds the door\")", "Tests/Fuzz/x.swift": "",
            "Tests/EndToEnd/checks_a.py": "",
        ]
        let others = ["checks_a.py", "make test", "cell-replayed", "flood-…"].map { Proof(test: $0, says: nil) }
        for proof in proofs + others { #expect(Self.fault(proof, in: tests) == nil) }
        #expect(Self.fault(.init(test: "GoodTests", says: "holds the wall"), in: tests) != nil)
        #expect(Self.fault(.init(test: "Good", says: nil), in: tests) != nil)
        #expect(Self.fault(.init(test: "Tests/Fu", says: nil), in: tests) != nil)
        for name in ["checks_b.py", "make tests", "cell-replay", "flud-…"] {
            #expect(Self.fault(.init(test: name, says: nil), in: tests) != nil)
        }
    }
}
