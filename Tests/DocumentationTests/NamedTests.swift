import AttackSuite
import Foundation
import Testing

/// Finds the tests that a document names.
enum NamedTests {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The text of every test, by its path below the root.
    static let tests: [String: String] = {
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

    /// The rows of all tables whose last column has this title: the first column, and the last.
    static func lines(of document: String, column title: String) -> [(first: String, column: String)] {
        var isShown = false
        var found: [(first: String, column: String)] = []
        for line in document.split(separator: "\n", omittingEmptySubsequences: false) {
            guard line.hasPrefix("|") else {
                isShown = false
                continue
            }
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            if cells.last == title {
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

    /// Expect of a document that each line of its tables with such a column names tests in it, and that these are there.
    static func expectAll(
        of document: String, column: String, atLeast lineCount: Int, read: (_ column: String) -> [Proof]
    ) throws {
        let path = Self.root.appendingPathComponent("Docs/Onion.docc/\(document)")
        let lines = Self.lines(of: try String(contentsOf: path, encoding: .utf8), column: column)
        #expect(lines.count >= lineCount)
        for line in lines {
            let proofs = read(line.column)
            #expect(!proofs.isEmpty, "nothing shows: \(line.first)")
            for proof in proofs {
                let fault = Self.fault(proof, in: Self.tests)
                #expect(fault == nil, "\(line.first): \(fault ?? "")")
            }
        }
    }
}
