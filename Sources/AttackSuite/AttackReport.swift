package import Foundation

/// What the attacks came to: as a table for people, and as JSON for programs.
package struct AttackReport: Codable, Equatable, Sendable {
    package struct Line: Codable, Equatable, Sendable {
        package var name: String
        package var tried: String
        package var expected: String
        package var observed: String
        package var verdict: Outcome.Verdict
        package var seconds: Double

        package init(_ attack: Attack, _ outcome: Outcome, seconds: Double) {
            self.name = attack.name
            self.tried = attack.tries
            self.expected = attack.expects
            self.observed = outcome.observed
            self.verdict = outcome.verdict
            self.seconds = (seconds * 10).rounded() / 10
        }

        /// What is shown as soon as the attack is over.
        package var progress: String {
            let mark = self.verdict.rawValue.uppercased()
            return "\(mark.padded(to: 8))  \(self.name)  \(self.seconds) s: \(self.observed)"
        }
    }

    package var attacks: [Line]
    /// Whether there were attacks, and all of them held.
    package var held: Bool

    package init(_ lines: [Line]) {
        self.attacks = lines
        self.held = !lines.isEmpty && lines.allSatisfy { $0.verdict == .held }
    }

    /// The table, in Markdown, and a line that sums it up.
    package var table: String {
        let head = "| Attack | Tried | Should happen | Did happen | Verdict |\n| --- | --- | --- | --- | --- |\n"
        let rows = self.attacks.map { line in
            let cells = [line.name, line.tried, line.expected, line.observed, line.verdict.rawValue]
            return "| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |\n"
        }
        let heldCount = self.attacks.count { $0.verdict == .held }
        return head + rows.joined() + "\n\(heldCount) of \(self.attacks.count) attacks held.\n"
    }

    /// JSON with keys in alphabetical order and a line feed at the end.
    package func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }
}

extension String {
    fileprivate func padded(to count: Int) -> String {
        self + String(repeating: " ", count: max(0, count - self.count))
    }
}
