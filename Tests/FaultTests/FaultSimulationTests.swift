import Testing

import class Foundation.ProcessInfo

/// Whole networks under faults, in virtual time. `THOR_FAULT_SEEDS=5000` plays more of them, `THOR_FAULT_SEED=17` plays one
/// and tells what happens in it; with `THOR_FAULT_KIND=3` as well, that of one kind of fault.
@Suite("Faults in a simulated network")
struct FaultSimulationTests {
    private static func number(_ variable: String) -> UInt64? {
        ProcessInfo.processInfo.environment[variable].flatMap(UInt64.init)
    }

    private static let seedCount = number("THOR_FAULT_SEEDS") ?? 100
    private static let partCount: UInt64 = 4

    private static func report(_ run: FaultRun, kind: Int? = nil, _ sourceLocation: SourceLocation = #_sourceLocation) {
        guard !run.problems.isEmpty else { return }
        let text = run.problems.joined(separator: "\n  ")
        let variables = "THOR_FAULT_SEED=\(run.seed)" + (kind.map { " THOR_FAULT_KIND=\($0)" } ?? "")
        Issue.record(
            "seed \(run.seed):\n  \(text)\nalone: \(variables) swift test --filter FaultSimulationTests/anyFaults",
            sourceLocation: sourceLocation)
    }

    @Test("without a fault, every transfer is complete", arguments: 0..<UInt64(5))
    func noFault(seed: UInt64) throws {
        let run = try FaultRun(plan: FaultPlan(seed: seed, faultCount: 0))
        Self.report(run)
        #expect(run.outcomes.allSatisfy { $0 == .complete })
    }

    @Test("the same seed gives the same run", arguments: 0..<UInt64(10))
    func repeatable(seed: UInt64) throws {
        let plan = FaultPlan(seed: seed)
        let (first, second) = (try FaultRun(plan: plan, keepsLines: true), try FaultRun(plan: plan, keepsLines: true))
        #expect(first.logHash == second.logHash)
        if first.lines != second.lines {
            let index = zip(first.lines, second.lines).enumerated().first { $1.0 != $1.1 }?.offset ?? -1
            Issue.record("they part at line \(index): \(first.lines[max(0, index - 3)...index]) \(second.lines[index])")
        }
    }

    @Test(
        "each kind of fault: every stream ends once, in time and with a reason that fits, and nothing is left",
        arguments: 0..<FaultPlan.Fault.kindCount)
    func oneFault(kind: Int) throws {
        let count = max(3, Self.seedCount / 40)
        var appliedCount = 0
        for seed in 0..<count {
            let run = try FaultRun(plan: FaultPlan(seed: seed, faultCount: 1, kind: kind))
            Self.report(run, kind: kind)
            appliedCount += run.applied.count
        }
        // One that is due after the end, or when there is nothing for it to hit, is left out.
        #expect(appliedCount > 0, "kind \(kind): none of \(count) runs had its fault")
    }

    @Test(
        "several faults: every stream ends once, in time and with a reason that fits, and nothing is left",
        arguments: 0..<partCount)
    func anyFaults(part: UInt64) throws {
        if let seed = Self.number("THOR_FAULT_SEED") {
            guard part == 0 else { return }
            let kind = Self.number("THOR_FAULT_KIND").map { Int($0) }
            let plan = FaultPlan(seed: seed, faultCount: kind.map { _ in 1 }, kind: kind)
            let run = try FaultRun(plan: plan, keepsLines: true)
            print(run.lines.joined(separator: "\n"))
            return Self.report(run, kind: kind)
        }
        for seed in stride(from: part, to: Self.seedCount, by: Int(Self.partCount)) {
            Self.report(try FaultRun(plan: FaultPlan(seed: seed)))
        }
    }
}
