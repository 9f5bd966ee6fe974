import OnionCells
import TestSupport
import Testing

@testable import OnionRouter

@Suite("Used circuit ids")
struct UsedCircuitIDsTests {
    @Test("each id serves once, in whatever order they come", arguments: 0..<30)
    func onceEach(seed: UInt64) {
        var random = SplitMix64(seed)
        var used = UsedCircuitIDs()
        var model: Set<UInt32> = []
        let edges: [UInt32] = [0, 1, .max, .max - 1, 0x7fff_ffff, 0x8000_0000]
        for _ in 0..<2000 {
            let id =
                Int.random(in: 0..<10, using: &random) == 0
                ? edges.randomElement(using: &random) ?? 0 : UInt32.random(in: 0...600, using: &random)
            let isNew = used.insert(CircuitID(rawValue: id))
            let isNewInModel = model.insert(id).inserted
            #expect(isNew == isNewInModel, "seed \(seed)")
        }
    }

    @Test("a peer may leave as many holes as the limit, and no more")
    func holes() {
        var used = UsedCircuitIDs()
        for number in 0..<4096 {
            let isNew = used.insert(CircuitID(rawValue: UInt32(number * 2)))
            #expect(isNew)
        }
        let isNew1 = used.insert(CircuitID(rawValue: 1_000_000))
        #expect(!isNew1)
        // Filling one makes room.
        let isNew2 = used.insert(CircuitID(rawValue: 1))
        #expect(isNew2)
        let isNew3 = used.insert(CircuitID(rawValue: 1_000_000))
        #expect(isNew3)
    }
}
