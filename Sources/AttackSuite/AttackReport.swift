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

        /// The longest verdict's.
        fileprivate static let markWidth = 8

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
            return "\(mark.padded(to: Self.markWidth))  \(self.name)  \(self.seconds) s: \(self.observed)"
        }
    }

    package var attacks: [Line]
    /// Whether there were attacks, and all of them held.
    package var held: Bool
    /// Whether every attack that was asked for is there.
    package var complete: Bool

    package init(_ lines: [Line], isComplete: Bool = true) {
        self.attacks = lines
        self.held = isComplete && !lines.isEmpty && lines.allSatisfy { $0.verdict == .held }
        self.complete = isComplete
    }

    /// The table, in Markdown, and a line that sums it up.
    package var table: String {
        let head = "| Attack | Tried | Should happen | Did happen | Verdict |\n| --- | --- | --- | --- | --- |\n"
        let rows = self.attacks.map { line in
            let cells = [line.name, line.tried, line.expected, line.observed, line.verdict.rawValue]
            return "| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |\n"
        }
        return head + rows.joined() + "\n" + self.sum
    }

    /// For people at a terminal, whose lines a table would not fit into: verdict, name, what happened, and the same sum.
    ///
    /// - Parameter width: of the terminal, in characters.
    package func list(width: Int) -> String {
        let lines = self.attacks.map { line in
            let mark = line.verdict.rawValue.uppercased().padded(to: Line.markWidth)
            return "\(mark)  \(line.name): \(line.observed)".wrapped(to: width, indent: Line.markWidth + 2) + "\n"
        }
        return lines.joined() + "\n" + self.sum
    }

    private var sum: String {
        let heldCount = self.attacks.count { $0.verdict == .held }
        let sum = "\(heldCount) of \(self.attacks.count) attacks held.\n"
        return self.complete ? sum : sum + "Stopped before the end: the others were not played.\n"
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

    /// Break lines between words; what follows the first is indented. A word that is too long has a line for itself.
    fileprivate func wrapped(to width: Int, indent: Int) -> String {
        var lines = [""]
        for word in self.split(separator: " ", omittingEmptySubsequences: false) {
            let isFirst = lines.count == 1 && lines[0].isEmpty
            if !isFirst, lines[lines.count - 1].count + 1 + word.count > width {
                lines.append(String(repeating: " ", count: indent) + word)
            } else {
                lines[lines.count - 1] += isFirst ? String(word) : " \(word)"
            }
        }
        return lines.joined(separator: "\n")
    }
}
