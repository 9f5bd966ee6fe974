import Foundation
import OnionDirectory
import Testing

/// Keeps the table of network parameters in step with the code: operators go by it.
@Suite("Parameter table")
struct ParameterTableTests {
    private struct Row: Equatable {
        var name: String
        var value: Int?
        var range: String
        var unit: String
        var inTestNetwork: Int?
    }

    @Test("Configuration says of every network parameter what the code does") func parameters() throws {
        let document = try String(
            contentsOf: NamedTests.root.appendingPathComponent("Docs/Onion.docc/Configuration.md"), encoding: .utf8)
        let table = document.split(separator: "\n").drop { !$0.hasPrefix("| Name | Default | Range | Unit |") }
            .prefix { $0.hasPrefix("|") }
        let documented = table.dropFirst(2).map { line in
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            return Row(
                name: cells[0].replacing("`", with: ""), value: Int(cells[1].filter(\.isNumber)),
                range: cells[2].filter { $0.isNumber || $0 == "–" }, unit: cells[3],
                inTestNetwork: Int(cells[4].filter(\.isNumber)))
        }
        let test = NetworkParameters.testNetwork
        let coded = NetworkParameter.allCases.map { parameter in
            let definition = parameter.definition
            return Row(
                name: parameter.rawValue, value: definition.default,
                range: "\(definition.range.lowerBound)–\(definition.range.upperBound)", unit: definition.unit,
                inTestNetwork: test[parameter] == definition.default ? nil : test[parameter])
        }
        #expect(documented.map(\.name).sorted() == coded.map(\.name).sorted())
        for row in coded { #expect(documented.first { $0.name == row.name } == row) }
    }
}
