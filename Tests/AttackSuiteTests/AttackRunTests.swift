import NIOConcurrencyHelpers
import OnionDirectory
import Testing
import ThorTestnet

@testable import AttackSuite

@Suite("A run of attacks", .timeLimit(.minutes(1)))
struct AttackRunTests {
    /// Networks that are none: they count how many were made and stopped, and judge by an attack's own word.
    private final class Stages: Sendable {
        struct NoNetwork: Error {}
        private let limit: Int
        private let counts = NIOLockedValueBox((made: 0, stopped: 0))
        let said = NIOLockedValueBox<[String]>([])

        init(limit: Int = .max) { self.limit = limit }

        var made: Int { self.counts.withLockedValue { $0.made } }
        var stopped: Int { self.counts.withLockedValue { $0.stopped } }

        /// - Parameter readCount: so many lines are read, and no more.
        func run(readCount: Int = .max) -> AttackRun {
            AttackRun(
                say: { line in
                    self.said.withLockedValue { said in
                        said.append(line)
                        return said.count <= readCount
                    }
                },
                makeStage: {
                    guard self.made < self.limit else { throw NoNetwork() }
                    self.counts.withLockedValue { $0.made += 1 }
                    return .init(
                        judge: { Outcome($0.tries == "hold" ? .held : .broken, $0.tries) },
                        stop: { self.counts.withLockedValue { $0.stopped += 1 } })
                })
        }
    }

    private static func attack(_ name: String, _ tries: String) -> Attack {
        Attack(name, tries: tries, expects: "") { _ in Outcome(.held, "") }
    }

    @Test("an attack that did not hold gets the others a new network, and every network is stopped")
    func newNetwork() async throws {
        let stages = Stages()
        let attacks = [Self.attack("a", "hold"), Self.attack("b", "break"), Self.attack("c", "hold")]
        let report = try await stages.run().play(attacks)
        #expect(report.attacks.map(\.verdict) == [.held, .broken, .held])
        #expect(report.complete)
        #expect(stages.made == 2 && stages.stopped == 2)
    }

    @Test(
        "without a first network there is nothing to tell; without another the rest stays unplayed, and what was found is told"
    )
    func noNetwork() async throws {
        await #expect(throws: Stages.NoNetwork.self) {
            try await Stages(limit: 0).run().play([Self.attack("a", "hold")])
        }
        let stages = Stages(limit: 1)
        let attacks = [Self.attack("a", "break"), Self.attack("b", "hold"), Self.attack("c", "hold")]
        let report = try await stages.run().play(attacks)
        #expect(report.attacks.map(\.verdict) == [.broken, .unplayed, .unplayed])
        #expect(report.attacks.map(\.name) == ["a", "b", "c"])
        #expect(stages.stopped == 1)
        #expect(stages.said.withLockedValue { $0.last } == "NoNetwork()")
    }

    @Test("a run that is stopped in the middle of an attack tells those before it, and starts no new network")
    func stopped() async throws {
        let stopCount = NIOLockedValueBox((made: 0, stopped: 0))
        let playing = NIOLockedValueBox<Task<AttackReport, any Error>?>(nil)
        let run = AttackRun(
            say: { _ in true },
            makeStage: {
                stopCount.withLockedValue { $0.made += 1 }
                return .init(
                    judge: { attack in
                        guard attack.name == "b" else { return Outcome(.held, "") }
                        playing.withLockedValue { $0?.cancel() }
                        return Outcome(.broken, "stopped")
                    }, stop: { stopCount.withLockedValue { $0.stopped += 1 } })
            })
        let attacks = [Self.attack("a", ""), Self.attack("b", ""), Self.attack("c", "")]
        let task = playing.withLockedValue { playing in
            let task = Task { try await run.play(attacks) }
            playing = task
            return task
        }
        let report = try await task.value
        #expect(report.attacks.map(\.name) == ["a"])
        #expect(!report.complete && !report.held)
        #expect(stopCount.withLockedValue { $0 == (1, 1) })
    }

    @Test("a run that nobody reads any more ends")
    func unread() async throws {
        let stages = Stages()
        let attacks = [Self.attack("a", "hold"), Self.attack("b", "hold"), Self.attack("c", "hold")]
        let report = try await stages.run(readCount: 1).play(attacks)
        #expect(report.attacks.map(\.name) == ["a", "b"])
        #expect(!report.complete)
        #expect(stages.stopped == 1)
    }

    @Test("an attack is what it says of itself, unplayed if it could not be played, broken if its own daemon crashed")
    func played() async {
        let crash = Crash(name: "thor-proxy", end: .signal(6))
        let held = await AttackRun.played(within: .seconds(60)) { Outcome(.held, "all") }
        #expect(held == Outcome(.held, "all"))
        let failed = await AttackRun.played(within: .seconds(60)) { throw Stages.NoNetwork() }
        #expect(failed == Outcome(.unplayed, "NoNetwork()"))
        let crashed = await AttackRun.played(within: .seconds(60)) { throw crash }
        #expect(crashed == Outcome(.broken, "\(crash)"))
    }

    @Test("an attack whose time is over is unplayed, unless it is over because of a crash")
    func timeLimit() async {
        func ended(by error: any Error) async -> Outcome {
            await AttackRun.played(within: .milliseconds(1)) {
                try? await Task.sleep(for: .seconds(3600))
                throw error
            }
        }
        let over = await ended(by: CancellationError())
        #expect(over.verdict == .unplayed && over.observed.hasPrefix("not over within"))
        let crash = Crash(name: "thor-proxy", end: .signal(6))
        let crashed = await ended(by: crash)
        #expect(crashed == Outcome(.broken, "\(crash)"))
    }

    @Test("the attacked network differs from a real one by loopback and one subnet alone")
    func parameters() throws {
        let (attacked, real) = (AttackedParameters.all, NetworkParameters())
        let other = NetworkParameter.allCases.filter { attacked[$0] != real[$0] }
        #expect(Set(other) == [.allowLoopback, .allowSameSubnet])
    }
}
