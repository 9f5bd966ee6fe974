import Foundation
import Testing

@testable import AttackSuite

@Suite("What attacks came to")
struct AttackReportTests {
    private static func attack(_ name: String) -> Attack {
        Attack(name, tries: "a | b", expects: "nothing") { _ in Outcome(.held, "") }
    }

    private static func line(_ name: String, _ verdict: Outcome.Verdict) -> AttackReport.Line {
        AttackReport.Line(Self.attack(name), Outcome(verdict, "this"), seconds: 1.25)
    }

    @Test("the table has a row for each attack, and no cell breaks a row")
    func table() {
        let report = AttackReport([Self.line("cell-one", .held), Self.line("cell-two", .broken)])
        let table = """
            | Attack | Tried | Should happen | Did happen | Verdict |
            | --- | --- | --- | --- | --- |
            | cell-one | a \\| b | nothing | this | held |
            | cell-two | a \\| b | nothing | this | broken |

            1 of 2 attacks held.

            """
        #expect(report.table == table)
    }

    @Test("JSON says the same as the table, and whether all held")
    func json() throws {
        let report = AttackReport([Self.line("cell-one", .held)])
        let json = """
            {
              "attacks" : [
                {
                  "expected" : "nothing",
                  "name" : "cell-one",
                  "observed" : "this",
                  "seconds" : 1.3,
                  "tried" : "a | b",
                  "verdict" : "held"
                }
              ],
              "complete" : true,
              "held" : true
            }

            """
        #expect(String(decoding: try report.json(), as: UTF8.self) == json)
    }

    @Test("what was stopped before the end says so, as table, list and JSON")
    func incomplete() throws {
        let report = AttackReport([Self.line("cell-one", .held)], isComplete: false)
        let sum = "1 of 1 attacks held.\nStopped before the end: the others were not played.\n"
        #expect(report.table.hasSuffix(sum))
        #expect(report.list(width: 80).hasSuffix(sum))
        #expect(String(decoding: try report.json(), as: UTF8.self).contains(#""complete" : false"#))
    }

    @Test("a terminal gets verdict, name and what happened, wrapped between words to its width")
    func list() {
        let attack = Self.attack("cell-one")
        let long = Outcome(.broken, "the circuit lives on, averyveryverylongword and more")
        let report = AttackReport([
            Self.line("cell-two", .held), AttackReport.Line(attack, long, seconds: 1),
        ])
        let list = """
            HELD      cell-two: this
            BROKEN    cell-one: the
                      circuit lives on,
                      averyveryverylongword
                      and more

            1 of 2 attacks held.

            """
        #expect(report.list(width: 28) == list)
    }

    @Test("only a run in which every attack held has held")
    func held() {
        #expect(AttackReport([Self.line("a", .held), Self.line("b", .held)]).held)
        #expect(!AttackReport([Self.line("a", .held), Self.line("b", .unplayed)]).held)
        #expect(!AttackReport([Self.line("a", .broken)]).held)
        #expect(!AttackReport([]).held)
        #expect(!AttackReport([Self.line("a", .held)], isComplete: false).held)
    }

    @Test("an attack that is over is told in one line")
    func progress() {
        #expect(Self.line("cell-one", .broken).progress == "BROKEN    cell-one  1.3 s: this")
    }

    @Test("names select one attack, or all that begin with their words, in the order of the list")
    func selection() throws {
        let attacks = ["cell-flipped-bit-guard", "cell-flipped-bit", "cell-flipped", "cellar", "exit-one"].map(
            Self.attack)
        func names(_ selected: [String]) throws -> [String] {
            try AttackCatalogue.select(selected, from: attacks).map(\.name)
        }
        #expect(try names([]) == attacks.map(\.name))
        #expect(try names(["exit", "cell"]) == [attacks[0], attacks[1], attacks[2], attacks[4]].map(\.name))
        #expect(try names(["cell-flipped-bit"]) == ["cell-flipped-bit-guard", "cell-flipped-bit"])
        #expect(throws: AttackCatalogue.UnknownName(name: "cell-flip")) { try names(["exit", "cell-flip"]) }
        #expect(throws: AttackCatalogue.UnknownName(name: "")) { try names([""]) }
    }

    @Test("every attack has a name of its own, of a family that there is")
    func catalogue() {
        let names = AttackCatalogue.all.map(\.name)
        #expect(Set(names).count == names.count)
        let families: Set<Substring> = ["cell", "handshake", "directory", "exit", "flood"]
        for attack in AttackCatalogue.all {
            #expect(families.contains(attack.name.prefix { $0 != "-" }), "\(attack.name)")
            #expect(attack.name.allSatisfy { $0 == "-" || $0.isLowercase || $0.isNumber }, "\(attack.name)")
            #expect(!attack.tries.isEmpty && !attack.expects.isEmpty)
        }
    }
}
