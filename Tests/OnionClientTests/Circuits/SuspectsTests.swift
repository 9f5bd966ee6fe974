import NIOCore
import OnionCrypto
import Testing

@testable import OnionClient

@Suite("Routers at which circuits have failed")
struct SuspectsTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let guardKey = Ed25519PrivateKey().publicKey
    private let routers = (0..<8).map { _ in Ed25519PrivateKey().publicKey }

    @Test("a quarter of the network is left out at the most, those blamed last, and two in the smallest")
    func quarter() {
        var suspects = Suspects(age: .seconds(30))
        for (index, router) in self.routers.enumerated() {
            suspects.blame(router, now: self.start + .seconds(Int64(index)))
        }
        func leftOut(_ count: Int) -> Set<Ed25519PublicKey> {
            suspects.leftOut(hanging: [], behind: self.guardKey, of: count)
        }
        #expect(leftOut(3) == Set(self.routers.suffix(2)))
        #expect(leftOut(11) == Set(self.routers.suffix(2)))
        #expect(leftOut(12) == Set(self.routers.suffix(3)))
        #expect(leftOut(40) == Set(self.routers))
    }

    @Test(
        "the router that most circuits wait for, or that others are behind, goes before those blamed, and those blamed first"
    )
    func points() {
        var suspects = Suspects(age: .seconds(30))
        suspects.blame(self.routers[0], now: self.start)
        func leftOut(_ hanging: [Int]) -> Set<Ed25519PublicKey> {
            suspects.leftOut(hanging: hanging.map { self.routers[$0] }, behind: self.guardKey, of: 4)
        }
        // Behind one that has stopped, three others hang with it.
        for stopped in 4..<8 {
            let others = (1..<4).map { $0 }
            #expect(leftOut(others + [stopped, stopped, stopped]) == [self.routers[0], self.routers[stopped]])
        }
        #expect(leftOut([1, 1, 1, 2, 2, 2]) == Set(self.routers[1...2]))
    }

    @Test("the guard is judged by its link, and takes nobody's place")
    func entry() {
        var suspects = Suspects(age: .seconds(30))
        for router in self.routers.prefix(3) { suspects.blame(router, now: self.start) }
        let leftOut = suspects.leftOut(hanging: [self.routers[0]], behind: self.routers[0], of: 4)
        #expect(leftOut == Set(self.routers[1...2]))
    }

    @Test("blame is over when its time is, and when a circuit through the router is complete")
    func over() {
        var suspects = Suspects(age: .seconds(30))
        suspects.blame(self.routers[0], now: self.start)
        suspects.blame(self.routers[1], now: self.start + .seconds(1))
        suspects.blame(self.routers[2], now: self.start + .seconds(1))
        suspects.clear(self.routers[2])
        suspects.timePassed(now: self.start + .seconds(30))
        #expect(suspects.leftOut(hanging: [], behind: self.guardKey, of: 40) == [self.routers[1]])
        suspects.timePassed(now: self.start + .seconds(31))
        #expect(suspects.leftOut(hanging: [], behind: self.guardKey, of: 40).isEmpty)
    }
}
