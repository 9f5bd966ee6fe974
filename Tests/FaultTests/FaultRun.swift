import NIOCore
import OnionCells

@testable import OnionClient
@testable import OnionRouter

/// Plays a ``FaultPlan`` to its end, and looks at what is left.
struct FaultRun {
    let seed: UInt64
    private(set) var problems: [String] = []
    private(set) var logHash: UInt64 = 0
    private(set) var lines: [String] = []
    private(set) var applied: [FaultPlan.Fault] = []
    private(set) var deliveryCount = 0
    private(set) var outcomes: [Outcome] = []
    private var startTime = NIODeadline.uptimeNanoseconds(0)

    /// An hour is more than anything here takes.
    private static let timeLimit = TimeAmount.minutes(15)
    /// A router is back within its longest pause and a registration; a client when it asks next.
    private static let recoveryLimit = TimeAmount.seconds(150)
    /// The transfer that begins when all works again.
    private static let lastTransferIndex = 200

    init(plan: FaultPlan, keepsLines: Bool = false) throws {
        self.seed = plan.seed
        let network = try SimulatedNetwork(plan: plan, keepsLines: keepsLines)
        try self.play(network)
        self.logHash = network.simulation.logHash
        self.lines = network.simulation.lines
        self.applied = network.applied
    }

    private mutating func play(_ network: SimulatedNetwork) throws {
        let simulation = network.simulation
        guard try network.start() else { return self.problems.append("the network does not come about") }
        self.startTime = simulation.now
        let before = network.deliveryCount
        network.onDelivery = { [unowned network] count in
            for (after, fault) in network.plan.faults where after == count - before {
                // Not from within what the delivery does.
                simulation.schedule(on: network.world, at: simulation.now) { network.apply(fault) }
            }
        }
        simulation.run(until: simulation.now + Self.timeLimit) { network.isQuiet }
        self.judgeTransfers(network)
        self.deliveryCount = network.deliveryCount

        network.onDelivery = { _ in }
        try network.heal()
        simulation.run(for: .seconds(20))
        simulation.run(until: simulation.now + Self.recoveryLimit) { network.isWhole }
        self.expect(network.isWhole, "the network has not come back: \(network.lists)")
        if network.isClientAlive {
            self.judgeClient(network, "when all applications have gone")
            // An application may have gone before its request was answered.
            for transfer in network.plan.transfers {
                let answers = network.answers[transfer.index] ?? 0
                self.expect(answers == 1, "request \(transfer.index) was answered \(answers) times")
            }
            self.playLastTransfer(network)
            network.endClient()
        }
        network.lookIntoTheDead()
        simulation.run(for: SimulatedNetwork.linkIdleTime + .seconds(15))
        self.judgeClient(network, "in the end")
        self.judgeRouters(network)
        network.stopRouters()
        simulation.run(for: .seconds(1))
        self.judgeWires(network.wires, network)
        self.judgeTimers(network)
    }

    private mutating func expect(_ condition: Bool, _ problem: @autoclosure () -> String) {
        if !condition { self.problems.append(problem()) }
    }

    // MARK: Transfers

    private mutating func judgeTransfers(_ network: SimulatedNetwork) {
        let allowed = AllowedEnds(network.applied)
        for lie in network.lies { self.problems.append(lie) }
        for transfer in network.plan.transfers {
            let ends = network.outcomes[transfer.index] ?? []
            self.outcomes += ends
            self.expect(ends.count == 1, "transfer \(transfer.index) ended \(ends.count) times")
            guard let end = ends.first else { continue }
            self.expect(allowed.allows(end), "transfer \(transfer.index) ended with \(end) after \(network.applied)")
            let start = self.startTime + transfer.startsAfter
            if let endedAt = network.endedAt[transfer.index] {
                self.expect(
                    endedAt - start <= allowed.timeLimit,
                    "transfer \(transfer.index) took \((endedAt - start).nanoseconds / 1_000_000) ms")
            }
        }
    }

    /// Afterwards all works as ever.
    private mutating func playLastTransfer(_ network: SimulatedNetwork) {
        let transfer = Transfer(
            index: Self.lastTransferIndex, startsAfter: .zero, requestByteCount: 3000, responseByteCount: 9000,
            earlyByteCount: 0, halfCloses: true, isSlow: false, user: 9)
        network.begin(transfer, after: .zero)
        network.simulation.run(until: network.simulation.now + Self.timeLimit) { network.isQuiet }
        let ends = network.outcomes[transfer.index] ?? []
        self.expect(ends == [.complete], "afterwards a transfer ended with \(ends)")
        network.simulation.run(for: .seconds(5))
        self.judgeClient(network, "after the last transfer")
    }

    // MARK: What is left

    private mutating func judgeClient(_ network: SimulatedNetwork, _ moment: String) {
        let client = network.client
        self.expect(network.clientStreamCount == 0, "the client has \(network.clientStreamCount) streams \(moment)")
        let requests = client.waiting.values + client.trying.values.flatMap(\.values)
        let strange = requests.filter { client.isShutDown || !SimulatedNetwork.isOwn($0) }
        self.expect(strange.isEmpty, "\(strange.count) requests wait or are tried \(moment)")
        let counted = client.pool.circuitKeys.reduce(0) { $0 + client.pool.streamCount(of: $1) }
        self.expect(
            counted == network.directoryStreamCount || client.isShutDown, "the pool counts \(counted) streams \(moment)"
        )
        if client.isShutDown { self.expect(client.circuits.isEmpty, "the client has circuits \(moment)") }
    }

    private mutating func judgeRouters(_ network: SimulatedNetwork) {
        for router in network.routers + network.deadRouters {
            let held = router.onEachLoop(network.simulation) { loop in
                // A loop that has been stopped does not ask for bytes any more.
                let bytes = router.state == .running ? [loop.queues.byteCount, loop.queues.exits.count] : []
                return [
                    loop.tables.values.reduce(0) { $0 + $1.circuits.count }, loop.tables.count, loop.dialling.count,
                ] + bytes
            }
            self.expect(
                held.allSatisfy { $0.allSatisfy { $0 == 0 } },
                "\(router.name) (\(router.state)) holds circuits, links, diallings, bytes, exits: \(held)")
        }
        // A router's with the directory stays as long as both do.
        self.judgeWires(network.wires.filter { $0.kind != .directory }, network)
    }

    private mutating func judgeWires(_ wires: [Wire], _ network: SimulatedNetwork) {
        for wire in wires {
            // Applications and destinations keep what nobody closes.
            for end in [wire.near, wire.far] where end.isOpen && end.loop !== network.world {
                self.problems.append("\(wire.name) is open on \(end.loop.name)")
            }
        }
    }

    private mutating func judgeTimers(_ network: SimulatedNetwork) {
        let routers = network.routers + network.deadRouters
        for router in routers { self.expect(router.directoryEnd != nil, "\(router.name) still keeps its standing") }
        for directory in network.directories {
            self.expect(directory.taskCount == 0, "a directory has \(directory.taskCount) tasks")
        }
        self.expect(network.isClientTaskOver, "the client still keeps its list")
        let loops = routers.flatMap(\.group.loops) + network.directories.map(\.loop) + [network.clientLoop]
        for loop in loops {
            let count = network.simulation.timerCount(on: loop)
            self.expect(count == 0, "\(count) timers wait on \(loop.name)")
        }
    }
}

/// How transfers may end once certain things have gone wrong, and how long they may take.
///
/// Bytes that were not sent, and an end in order that is none, are never allowed.
struct AllowedEnds {
    private(set) var timeLimit = TimeAmount.seconds(30)
    private var refusals: Set<String> = []
    private var mayReset = false
    private var mayTireApplications = false

    init(_ faults: [FaultPlan.Fault]) {
        for fault in faults { self.allow(fault) }
    }

    func allows(_ outcome: Outcome) -> Bool {
        switch outcome {
        case .complete: true
        // With too few routers left that is told at once, where there would otherwise be no circuit.
        case .refused(let reason) where reason.hasPrefix("notReady"):
            self.refusals.contains("\(StreamFailure.noCircuit)")
        case .refused(let reason): self.refusals.contains(reason)
        case .reset: self.mayReset
        case .impatient: self.mayTireApplications
        case .truncated, .corrupt: false
        }
    }

    private mutating func allow(_ reasons: StreamFailure..., within extra: TimeAmount, reset: Bool) {
        self.refusals.formUnion(reasons.map { "\($0)" })
        self.timeLimit = self.timeLimit + extra
        self.mayReset = self.mayReset || reset
    }

    private mutating func allow(_ fault: FaultPlan.Fault) {
        switch fault {
        case .cutLink, .halfCloseLink, .severLink:
            self.allow(.noCircuit, .ended(.timedOut), within: .seconds(60), reset: true)
        case .freezeLink(_, _, let time), .freezeRouter(_, let time):
            self.allow(.noCircuit, .ended(.timedOut), within: .seconds(60) + time, reset: true)
        case .delayLink:
            self.allow(.noCircuit, .ended(.timedOut), within: .seconds(90), reset: true)
        case .killRouter, .vanishRouter, .refuseRouter:
            self.allow(.noCircuit, .ended(.timedOut), within: .seconds(60), reset: true)
        case .stopRouter:
            self.allow(.noCircuit, .ended(.timedOut), .ended(.shuttingDown), within: .seconds(60), reset: true)
        case .exhaustRouter:
            self.allow(.noCircuit, .ended(.resourceLimit), .ended(.timedOut), within: .seconds(60), reset: true)
        case .freezeClient(let time):
            self.allow(.noCircuit, .ended(.timedOut), within: .seconds(60) + time, reset: true)
        case .killClient: self.allow(within: .zero, reset: true)
        case .cutApplication, .cutDestination: self.allow(within: .zero, reset: true)
        case .freezeDestination(_, let time): self.allow(within: time, reset: false)
        case .refusingDestinations: self.allow(.ended(.connectionRefused), within: .seconds(5), reset: false)
        case .silentDestinations:
            self.allow(.ended(.timedOut), .noCircuit, within: .seconds(60), reset: false)
        case .failingNames, .silentNames:
            self.allow(.ended(.resolveFailed), .ended(.timedOut), within: .seconds(60), reset: false)
        // What the network needs of a directory for its streams it has already.
        case .killDirectory, .freezeDirectory, .cutDirectoryLink, .severDirectoryLink, .freezeDirectoryLink,
            .fillDirectoryDisk:
            break
        case .clockJump: self.allow(.noCircuit, within: .seconds(60), reset: false)
        }
    }
}
