import OnionCells
import OnionCircuits
import Testing

@Suite("Who may say what")
struct RelayRulesTests {
    /// The table of DESIGN §6.3, written down a second time, by command: forward and backward at last, extending, and
    /// inner hop. `+` may, `-` may not.
    private static let table: [(RelayCommand, String)] = [
        (.begin, "+-- ---"),
        (.connected, "--- +--"),
        (.data, "+-- +--"),
        (.end, "+-- +--"),
        (.sendMe, "+-- +--"),
        (.xOff, "+-- +--"),
        (.xOn, "+-- +--"),
        (.extend, "+-- ---"),
        (.extended, "--- -+-"),
        (.truncated, "--- +++"),
        (.resolve, "+-- ---"),
        (.resolved, "--- +--"),
        (.drop, "++- ++-"),
    ]

    @Test("the table is the design's, in all its places")
    func all() throws {
        #expect(Set(Self.table.map(\.0)) == Set(RelayCommand.allCases))
        for (command, row) in Self.table {
            let cells = row.filter { $0 != " " }.map { $0 == "+" }
            var index = cells.startIndex
            for direction in [RelayRules.Direction.forward, .backward] {
                for position in [RelayRules.Position.lastHop, .extendingHop, .innerHop] {
                    #expect(
                        RelayRules.allows(command, direction, position) == cells[index],
                        "\(command) \(direction) \(position)")
                    if cells[index] {
                        try RelayRules.check(command, direction, position)
                    } else {
                        #expect(throws: CircuitError.messageNotAllowed(command)) {
                            try RelayRules.check(command, direction, position)
                        }
                    }
                    index += 1
                }
            }
        }
    }

    @Test("agrees with what the commands say of themselves", arguments: RelayCommand.allCases)
    func directions(command: RelayCommand) {
        for position in RelayRules.Position.allCases {
            #expect(!(command.isForwardOnly && RelayRules.allows(command, .backward, position)))
            #expect(!(command.isBackwardOnly && RelayRules.allows(command, .forward, position)))
        }
    }
}
