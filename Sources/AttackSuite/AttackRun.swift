import Foundation
import HostilePeers

/// Plays attacks one after the other, and judges each: what it says of itself, whether an honest request still goes
/// through, whether every daemon is the process that it was, and how much memory each has used.
package struct AttackRun: Sendable {
    /// A network that attacks are played against.
    struct Stage: Sendable {
        /// Play an attack, and say what became of it.
        let judge: @Sendable (Attack) async -> Outcome
        let stop: @Sendable () async -> Void
    }

    private let makeStage: @Sendable () async throws -> Stage
    private let say: @Sendable (String) -> Bool

    package init(_ configuration: AttackedDaemons.Configuration) {
        self.init(say: configuration.say) {
            let network = try await AttackedDaemons.start(configuration)
            return Stage(judge: { await Self.judge($0, network) }, stop: { await network.stop() })
        }
    }

    /// - Parameter say: false if nobody reads it any more.
    init(say: @escaping @Sendable (String) -> Bool, makeStage: @escaping @Sendable () async throws -> Stage) {
        self.say = say
        self.makeStage = makeStage
    }

    /// Play all of them; one that fails does not stop the others, and gets the others a new network. If there is no new one
    /// to be had, they stay unplayed.
    ///
    /// - Returns: what was played so far, if the task is cancelled, or nobody reads what is said.
    /// - Throws: why there is no network at all.
    package func play(_ attacks: [Attack]) async throws -> AttackReport {
        var lines: [AttackReport.Line] = []
        var stage: Stage?
        for attack in attacks {
            guard !Task.isCancelled else { break }
            if stage == nil {
                do {
                    stage = try await self.makeStage()
                } catch {
                    guard !Task.isCancelled else { break }
                    guard !lines.isEmpty else { throw error }
                    let unplayed = Outcome(.unplayed, "no new network to attack")
                    let rest = attacks.dropFirst(lines.count).map { AttackReport.Line($0, unplayed, seconds: 0) }
                    _ = self.say("\(error)")
                    return AttackReport(lines + rest)
                }
            }
            guard let current = stage else { break }
            let start = ContinuousClock.now
            let outcome = await current.judge(attack)
            // What became of it then, became of it because it was stopped.
            guard !Task.isCancelled else { break }
            let line = AttackReport.Line(attack, outcome, seconds: (ContinuousClock.now - start) / .seconds(1))
            lines.append(line)
            guard self.say(line.progress) else { break }
            if outcome.verdict != .held {
                await current.stop()
                stage = nil
            }
        }
        await stage?.stop()
        return AttackReport(lines, isComplete: lines.count == attacks.count)
    }

    private static func judge(_ attack: Attack, _ network: AttackedDaemons) async -> Outcome {
        let outcome = await Self.played(within: attack.timeLimit) { try await attack.play(network.arena) }
        var service: String?
        do {
            try await network.arena.network.checkService()
            try await network.arena.needUser().checkService()
        } catch {
            service = "\(error)"
        }
        return Self.verdict(
            outcome, serviceFailure: service, dead: network.starter.dead,
            memoryFailure: MemoryCeiling.failure(network.starter.resident))
    }

    /// Put together what is known of an attack; the gravest first.
    static func verdict(
        _ outcome: Outcome, serviceFailure: String?, dead: [String], memoryFailure: String?
    ) -> Outcome {
        if !dead.isEmpty {
            return Outcome(.broken, "no longer running: \(dead.joined(separator: ", ")); \(outcome.observed)")
        }
        if outcome.verdict == .broken { return outcome }
        if let serviceFailure {
            return Outcome(.broken, "afterwards no honest request went through: \(serviceFailure); \(outcome.observed)")
        }
        if let memoryFailure { return Outcome(.broken, "\(memoryFailure); \(outcome.observed)") }
        return outcome
    }

    /// What an attack says of itself; a crash of a daemon of its own is what it has done.
    static func played(
        within timeLimit: Duration, _ play: @escaping @Sendable () async throws -> Outcome
    ) async -> Outcome {
        let outcome = await withTaskGroup(of: Outcome?.self) { group in
            group.addTask { await Self.finished(play) }
            group.addTask {
                try? await Task.sleep(for: timeLimit)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            // One whose time is over may still have a crash to tell.
            let second = await group.next() ?? nil
            return first ?? (second?.verdict == .broken ? second : nil)
        }
        return outcome ?? Outcome(.unplayed, "not over within \(timeLimit)")
    }

    private static func finished(_ play: @Sendable () async throws -> Outcome) async -> Outcome {
        do {
            return try await play()
        } catch let crash as Crash {
            return Outcome(.broken, "\(crash)")
        } catch {
            return Outcome(.unplayed, "\(error)")
        }
    }
}
