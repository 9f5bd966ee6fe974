/// All attacks, in the order in which they are played.
package enum AttackCatalogue {
    package static let all: [Attack] =
        CellAttacks.all + HandshakeAttacks.all + DirectoryAttacks.all + ExitAttacks.all + FloodAttacks.all

    /// A name that no attack and no family has.
    package struct UnknownName: Error, Equatable { package let name: String }

    /// The attacks of these names, in the order of the list; all if there are none. A name is that of one attack, or the
    /// words with which the names of several begin: `cell`, `cell-flipped-bit`.
    package static func select(_ names: [String], from attacks: [Attack] = all) throws(UnknownName) -> [Attack] {
        guard !names.isEmpty else { return attacks }
        for name in names where !attacks.contains(where: { Self.matches($0, name) }) { throw UnknownName(name: name) }
        return attacks.filter { attack in names.contains { Self.matches(attack, $0) } }
    }

    private static func matches(_ attack: Attack, _ name: String) -> Bool {
        attack.name == name || attack.name.hasPrefix("\(name)-")
    }
}
