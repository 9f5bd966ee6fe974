import Testing

@testable import AttackSuite

@Suite("What counts as a flood")
struct FloodMeasuringTests {
    private static let needs = FloodAttacks.Needs(held: .init(3, "links"), done: .init(5, "cells"))

    @Test("nothing is measured before the flood has what it needs")
    func established() async throws {
        let hoard = FloodAttacks.Hoard()
        for (held, done) in [(2, 5), (3, 4)] {
            hoard.holds(held)
            hoard.hasDone(done)
            await #expect {
                try await hoard.established(Self.needs, seconds: 0)
            } throws: {
                "\($0)" == "waited in vain: the flood is there; so far \(held) links, \(done) cells"
            }
        }
        hoard.hasDone(5)
        try await hoard.established(Self.needs, seconds: 0)
        try await FloodAttacks.Hoard().established(.init(), seconds: 0)
    }

    @Test("a flood must go on while it is measured, and keep what it needs")
    func lasting() async throws {
        func told(held: Int, done: Int) async throws -> String {
            let hoard = FloodAttacks.Hoard()
            hoard.holds(3)
            hoard.hasDone(7)
            return try await hoard.during(Self.needs) {
                hoard.holds(held)
                hoard.hasDone(done)
            }.told
        }
        #expect(try await told(held: 4, done: 9) == "4 links, 2 cells")
        await #expect {
            _ = try await told(held: 3, done: 7)
        } throws: {
            "\($0)" == "waited in vain: the flood lasts; at the end 3 links, 0 cells"
        }
        await #expect {
            _ = try await told(held: 2, done: 8)
        } throws: {
            "\($0)" == "waited in vain: the flood lasts; at the end 2 links, 1 cells"
        }
    }

    @Test("measured once more, the speed before the first flood counts, not that of its aftermath")
    func baseline() {
        let first = FloodAttacks.Speeds(before: 10, during: 4)
        #expect(first.repeated(before: 6, during: 4) == .init(before: 10, during: 4))
        #expect(!first.repeated(before: 6, during: 4).isKept)
        #expect(first.repeated(before: 12, during: 6) == .init(before: 12, during: 6))
    }
}
