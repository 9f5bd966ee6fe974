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

    @Test("a process at its ceiling is not over it, and a directory server's is lower")
    func ceiling() {
        let directory = "directory server"
        #expect(
            MemoryCeiling.failure([("one", MemoryCeiling.byteCount), (directory, MemoryCeiling.directoryByteCount)])
                == nil)
        let failure = MemoryCeiling.failure([
            ("one", 1), ("two", 400 << 20), (directory, MemoryCeiling.directoryByteCount + 1),
        ])
        #expect(
            failure == "two used 400 MiB, and its ceiling is 384 MiB; "
                + "directory server used 192 MiB, and its ceiling is 192 MiB")
    }

    @Test("a process is told from others, and from none")
    func process() throws {
        let own = try #require(ProcessWatch(name: "own", processID: getpid()))
        #expect(own.isAlive)
        let before = own.residentByteCount
        #expect(before > 1 << 20)
        // What was used and given back is still told.
        let byteCount = before + 64 << 20
        let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        memset(try #require(memory), 1, byteCount)
        munmap(memory, byteCount)
        #expect(own.residentByteCount > before + 32 << 20)
        #expect(ProcessWatch(name: "none", processID: 1 << 30) == nil)
    }

    @Test(
        "every bit is flipped once; with a stride, every bit of all headers and the tag, and every place in a byte behind them"
    )
    func flips() {
        func changed(_ flips: [CellAttacks.Flip]) -> [UInt8] {
            var cell = [UInt8](repeating: 0, count: 2048)
            for flip in flips { flip.apply(to: &cell) }
            return cell
        }
        let all = CellAttacks.flips(payloadStride: 1)
        #expect(all.count == 16_384)
        #expect(all.count(where: \.isOfID) == 32)
        #expect(changed(all).allSatisfy { $0 == 0xff })

        let some = CellAttacks.flips(payloadStride: 321)
        #expect(some.count == 26 * 8 + (2048 - 26) * 8 / 321 + 1)
        #expect(changed(some).prefix(26).allSatisfy { $0 == 0xff })
        #expect(changed(some).dropFirst(26).reduce(0, |) == 0xff)
    }
}
