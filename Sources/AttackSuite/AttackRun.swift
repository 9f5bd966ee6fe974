import Foundation
import HostilePeers

/// Plays attacks one after the other, and judges each: what it says of itself, whether an honest request still goes
/// through, whether every daemon is the process that it was, and how much memory each uses.
package struct AttackRun: Sendable {
    /// One attack may take so long.
    static let timeLimit = Duration.seconds(90)

    private let configuration: AttackedDaemons.Configuration

    package init(_ configuration: AttackedDaemons.Configuration) { self.configuration = configuration }

    /// Play all of them; one that fails does not stop the others, and gets the others a new network.
    package func play(_ attacks: [Attack]) async throws -> AttackReport {
        var lines: [AttackReport.Line] = []
        var network = try await AttackedDaemons.start(self.configuration)
        do {
            for attack in attacks {
                try Task.checkCancellation()
                let start = ContinuousClock.now
                let outcome = await Self.judge(attack, network)
                let line = AttackReport.Line(attack, outcome, seconds: (ContinuousClock.now - start) / .seconds(1))
                lines.append(line)
                self.configuration.say(line.progress)
                guard outcome.verdict != .held, attack.name != attacks.last?.name else { continue }
                await network.stop()
                network = try await AttackedDaemons.start(self.configuration)
            }
        } catch {
            await network.stop()
            throw error
        }
        await network.stop()
        return AttackReport(lines)
    }

    private static func judge(_ attack: Attack, _ network: AttackedDaemons) async -> Outcome {
        let outcome = await Self.played(attack, network.arena)
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

    private static func played(_ attack: Attack, _ arena: Arena) async -> Outcome {
        do {
            return try await withThrowingTaskGroup(of: Outcome.self) { group in
                group.addTask { try await attack.play(arena) }
                group.addTask {
                    try await Task.sleep(for: Self.timeLimit)
                    throw PeerError.timedOut("the attack is over within \(Self.timeLimit)")
                }
                defer { group.cancelAll() }
                guard let outcome = try await group.next() else { return Outcome(.unplayed, "nothing was played") }
                return outcome
            }
        } catch {
            return Outcome(.unplayed, "\(error)")
        }
    }
}
