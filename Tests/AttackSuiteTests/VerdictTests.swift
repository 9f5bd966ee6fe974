import Glibc
import Testing

@testable import AttackSuite

@Suite("How attacks are judged")
struct VerdictTests {
    @Test("one trial that failed breaks an attack, and some of the failures are told")
    func trials() {
        var trials = Trials()
        #expect(trials.outcome("fine").verdict == .unplayed)
        trials.expect(true, "never told")
        #expect(trials.outcome("fine") == Outcome(.held, "1 tried: fine"))
        trials.expect(false, "one")
        #expect(trials.outcome("fine") == Outcome(.broken, "1 of 2: one"))
        for name in ["two", "three", "four"] { trials.add(failure: name) }
        #expect(trials.outcome("fine") == Outcome(.broken, "4 of 5: one; two; three; …"))
    }

    @Test("trials that were counted elsewhere add up")
    func sum() {
        var (one, other) = (Trials(), Trials())
        one.expect(true, "")
        other.expect(false, "wrong")
        other.expect(true, "")
        one.add(other)
        #expect(one.count == 3)
        #expect(one.failures == ["wrong"])
    }

    @Test("a dead daemon, an unanswered request and a process too large break an attack that held")
    func aftermath() {
        func verdict(
            _ outcome: Outcome, _ service: String? = nil, dead: [String] = [], memory: String? = nil
        ) -> Outcome {
            AttackRun.verdict(outcome, serviceFailure: service, dead: dead, memoryFailure: memory)
        }
        let held = Outcome(.held, "so far")
        #expect(verdict(held) == held)
        #expect(verdict(held, dead: ["proxy"]) == Outcome(.broken, "no longer running: proxy; so far"))
        #expect(
            verdict(held, "silence")
                == Outcome(.broken, "afterwards no honest request went through: silence; so far"))
        #expect(verdict(held, memory: "large") == Outcome(.broken, "large; so far"))
        let unplayed = Outcome(.unplayed, "no link")
        #expect(verdict(unplayed) == unplayed)
        #expect(verdict(unplayed, dead: ["proxy"]).verdict == .broken)
        let broken = Outcome(.broken, "delivered")
        #expect(verdict(broken, "silence") == broken)
    }

    @Test("an honest user must keep half of his speed, and must have had one")
    func speed() {
        #expect(FloodAttacks.Speeds(before: 10, during: 5).isKept)
        #expect(!FloodAttacks.Speeds(before: 10, during: 4.9).isKept)
        #expect(!FloodAttacks.Speeds(before: 0, during: 0).isKept)
    }

    @Test("a process at the ceiling is not over it")
    func ceiling() {
        #expect(MemoryCeiling.failure([("one", MemoryCeiling.byteCount)]) == nil)
        let failure = MemoryCeiling.failure([("one", 1), ("two", MemoryCeiling.byteCount + 1)])
        #expect(failure == "two uses 384 MiB, and the ceiling is 384 MiB")
    }

    @Test("a process is told from others, and from none")
    func process() throws {
        let own = try #require(ProcessWatch(name: "own", processID: getpid()))
        #expect(own.isAlive)
        #expect(own.residentByteCount > 1 << 20)
        #expect(ProcessWatch(name: "none", processID: 1 << 30) == nil)
    }

    @Test("every bit of header and tag is flipped, and one of each body byte")
    func flips() {
        let flips = CellAttacks.flips(bodyStride: 1)
        #expect(flips.count == 21 * 8 + 2048 - 21)
        #expect(flips.count(where: \.isOfID) == 32)
        #expect(Set(flips.filter { $0.byte < 21 }.map { $0.byte * 256 + Int($0.mask) }).count == 168)
        #expect(Set(flips.filter { $0.byte >= 21 }.map(\.byte)) == Set(21..<2048))
        #expect(flips.allSatisfy { $0.mask.nonzeroBitCount == 1 })
        var cell = [UInt8](repeating: 0, count: 2048)
        for flip in flips { flip.apply(to: &cell) }
        #expect(cell.prefix(21).allSatisfy { $0 == 0xff })
        #expect(cell.dropFirst(21).allSatisfy { $0.nonzeroBitCount == 1 })
    }
}
