import NIOCore
import OnionCrypto
import Testing

@testable import OnionClient

@Suite("Routers at which circuits have failed")
struct SuspectsTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let routers = (0..<8).map { _ in Ed25519PrivateKey().publicKey }

    @Test("a quarter of the network is left out at the most, those blamed last, and two in the smallest")
    func quarter() {
        var suspects = Suspects(age: .seconds(30))
        for (index, router) in self.routers.enumerated() {
            suspects.blame(router, now: self.start + .seconds(Int64(index)))
        }
        func leftOut(_ count: Int) -> Set<Ed25519PublicKey> { suspects.leftOut(hanging: [], of: count) }
        #expect(leftOut(3) == Set(self.routers.suffix(2)))
        #expect(leftOut(11) == Set(self.routers.suffix(2)))
        #expect(leftOut(12) == Set(self.routers.suffix(3)))
        #expect(leftOut(40) == Set(self.routers))
    }

    @Test("who does not answer now goes before those blamed earlier")
    func hanging() {
        var suspects = Suspects(age: .seconds(30))
        for router in self.routers.prefix(2) { suspects.blame(router, now: self.start) }
        let hanging = Array(self.routers.suffix(2))
        #expect(suspects.leftOut(hanging: hanging, of: 4) == Set(hanging))
        // Named twice is left out once.
        #expect(suspects.leftOut(hanging: [self.routers[0], self.routers[0]], of: 8) == Set(self.routers.prefix(2)))
    }

    @Test("of those that do not answer, the ones that most circuits wait for are left out")
    func counts() {
        let suspects = Suspects(age: .seconds(30))
        for stopped in 0..<4 {
            let others = self.routers.prefix(4).filter { $0 != self.routers[stopped] }
            let hanging =
                others + Array(repeating: self.routers[stopped], count: 2) + [self.routers[7], self.routers[7]]
            #expect(suspects.leftOut(hanging: hanging, of: 4) == [self.routers[stopped], self.routers[7]])
        }
    }

    @Test("blame is over when its time is, and when a circuit through the router is complete")
    func over() {
        var suspects = Suspects(age: .seconds(30))
        suspects.blame(self.routers[0], now: self.start)
        suspects.blame(self.routers[1], now: self.start + .seconds(1))
        suspects.blame(self.routers[2], now: self.start + .seconds(1))
        suspects.clear(self.routers[2])
        suspects.timePassed(now: self.start + .seconds(30))
        #expect(suspects.leftOut(hanging: [], of: 40) == [self.routers[1]])
        suspects.timePassed(now: self.start + .seconds(31))
        #expect(suspects.leftOut(hanging: [], of: 40).isEmpty)
    }
}
