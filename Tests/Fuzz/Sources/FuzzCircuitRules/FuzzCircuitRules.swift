import OnionCells
import OnionCircuits
import OnionCrypto

/// An OR's rules for a circuit, and a client's construction of one, as sequences of events in any order. The first byte says
/// which; then each byte is an event, some of which take a byte more.
enum FuzzCircuitRules {
    /// Returns whether no rule was broken.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = bytes[...]
        guard let first = script.popFirst(), !script.isEmpty else { return false }
        return first & 1 == 0 ? Self.playRouter(&script) : Self.playBuild(hopCount: 1 + Int(first >> 1) % 4, &script)
    }

    // MARK: The OR

    /// What ``RouterCircuit`` must be like, told another way: by what has happened to it.
    private struct RouterModel {
        var relayEarlyCount = 0
        var isExtended = false
        var isCreated = false
        var isOver = false
    }

    private static let own = Self.identity(1)
    private static let previous = Self.identity(2)

    private static func identity(_ number: UInt8) -> Ed25519PublicKey {
        guard let key = Ed25519PublicKey(rawBytes: [UInt8](repeating: number, count: 32)) else {
            preconditionFailure("32 bytes are no key")
        }
        return key
    }

    private static func playRouter(_ script: inout ArraySlice<UInt8>) -> Bool {
        var circuit = RouterCircuit()
        var model = RouterModel()
        while let event = script.popFirst() {
            do throws(CircuitError) {
                try Self.play(event, &script, &circuit, &model)
            } catch {
                precondition(error.scope == .circuit, "a peer's message ends more than its circuit")
                let action = circuit.failed()
                precondition(circuit.isClosed && circuit.failed() == .none, "a circuit that failed is not closed")
                precondition((action == .none) == model.isOver, "a circuit ends twice, or never")
                return false
            }
            precondition(circuit.isClosed == model.isOver, "a circuit's end is not what happened")
            precondition(
                circuit.isExtending == (model.isExtended && !model.isCreated && !model.isOver),
                "an Extend is not pending as it should be")
            precondition(circuit.isLastHop == (!model.isOver && !model.isCreated), "the last hop is another")
        }
        return true
    }

    private static func play(
        _ event: UInt8, _ script: inout ArraySlice<UInt8>, _ circuit: inout RouterCircuit, _ model: inout RouterModel
    ) throws(CircuitError) {
        let value = script.first ?? 0
        switch event & 7 {
        case 0:
            let command = CellCommand.allCases[Int(value) % CellCommand.allCases.count]
            script = script.dropFirst()
            if command == .relayEarly { model.relayEarlyCount += 1 }
            try circuit.forwardCellReceived(command)
            precondition(command == .relay || command == .relayEarly, "\(command) passes for a relay cell")
            precondition(model.relayEarlyCount <= RouterCircuit.relayEarlyBudget, "there are too many RelayEarly cells")
        case 1:
            try circuit.cellNotRecognised()
            precondition(model.isCreated && !model.isOver, "a cell goes on to nobody")
        case 2:
            let command = RelayCommand.allCases[Int(value) % RelayCommand.allCases.count]
            script = script.dropFirst()
            try circuit.messageReceived(command)
            precondition(!model.isOver && !model.isCreated, "a message is heard by a hop that has another behind it")
            precondition(!model.isExtended || command == .drop, "\(command) is heard while an Extend is pending")
        case 3:
            script = script.dropFirst()
            let target = Self.identity(value & 3)
            let command: CellCommand = value & 4 == 0 ? .relayEarly : .relay
            let previousHop = value & 8 == 0 ? Self.previous : nil
            try circuit.extendReceived(to: target, in: command, ownIdentity: Self.own, previousHop: previousHop)
            precondition(!model.isExtended && !model.isOver, "a circuit is extended twice")
            precondition(command == .relayEarly && target != Self.own && target != previousHop, "a wrong Extend passes")
            model.isExtended = true
        case 4:
            let action = try circuit.nextHopCreated()
            precondition(model.isOver ? action != .sendExtended : action == .sendExtended, "Created is taken wrongly")
            precondition(model.isOver || (model.isExtended && !model.isCreated), "a second Created passes")
            if !model.isOver { model.isCreated = true }
        case 5 where model.isExtended || model.isOver:
            // Without an Extend there is no next hop that could go: our own bug, which is asserted.
            let reason = DestroyReason(rawValue: value) ?? .unspecified
            let action = circuit.nextHopGone(reason)
            precondition(
                action == (model.isOver ? .none : .truncateThenDestroy(reason)), "a lost next hop is told wrongly")
            model.isOver = true
        case 6:
            let expected: RouterCircuit.OnNearEnd =
                model.isOver
                ? .none
                : model.isCreated
                    ? .destroyNextHop(.unspecified) : model.isExtended ? .abandonExtend : .endStreams
            precondition(circuit.previousHopGone() == expected, "the end goes on wrongly")
            model.isOver = true
        case 7:
            let command = CellCommand.allCases[Int(value) % CellCommand.allCases.count]
            script = script.dropFirst()
            try RouterCircuit.backwardCellReceived(command)
            precondition(command == .relay, "\(command) goes backward")
        default: break
        }
    }

    // MARK: The client

    private static func playBuild(hopCount: Int, _ script: inout ArraySlice<UInt8>) -> Bool {
        var build = CircuitBuild(path: Array(0..<hopCount))
        var readyCount = 0
        var failedCount = 0
        var extendedTo = -1
        var isVerifying = false
        precondition(build.start() == .sendCreate(to: 0), "a circuit begins otherwise")
        while let event = script.popFirst() {
            let before = build.hopCount
            let action: CircuitBuild<Int>.Action
            do throws(CircuitError) {
                action = try Self.play(event, &build, isVerifying: isVerifying)
            } catch {
                precondition(error == .replyNotDue && !build.isFailed, "a circuit fails otherwise")
                action = build.abandon(error)
            }
            if case .verifyHandshake = action { isVerifying = true } else if action != .none { isVerifying = false }
            switch action {
            case .ready: readyCount += 1
            case .failed: failedCount += 1
            case .sendExtend(let hop, let from):
                precondition(from == hop - 1 && hop > extendedTo && hop < hopCount, "a hop is asked out of turn")
                extendedTo = hop
            case .verifyHandshake(let hop): precondition(hop == before, "a handshake is another hop's")
            case .sendCreate: preconditionFailure("a circuit begins twice")
            case .none: break
            }
            precondition(readyCount <= 1 && failedCount <= 1, "a circuit ends twice")
            precondition(build.isReady == (readyCount == 1 && failedCount == 0), "a circuit is ready without saying so")
            precondition(build.isFailed == (failedCount == 1), "a circuit has failed without saying so")
            precondition(build.isFailed || build.hopCount >= before, "a hop is lost")
            precondition(!build.isReady || build.hopCount == hopCount, "a circuit is ready before its last hop")
        }
        return failedCount == 0
    }

    private static func play(
        _ event: UInt8, _ build: inout CircuitBuild<Int>, isVerifying: Bool
    ) throws(CircuitError) -> CircuitBuild<Int>.Action {
        let hop = Int(event >> 4)
        switch event & 15 {
        case 0, 1: return try build.createdReceived()
        case 2, 3, 4: return try build.extendedReceived(from: hop)
        // What was never asked for does not come: our own bug, which is asserted.
        case 5, 6, 7, 8: return isVerifying || build.isFailed ? build.handshakeCompleted() : .none
        case 9: return build.awaitedHop != nil || build.isFailed ? build.handshakeFailed() : .none
        case 10: return build.timerFired()
        case 11: return build.destroyReceived(DestroyReason(rawValue: UInt8(hop)) ?? .unspecified)
        case 12: return build.truncatedReceived(from: hop, .unspecified)
        case 13: return build.linkLost()
        default:
            for hop in 0..<build.path.count { _ = build.position(of: hop) }
            return .none
        }
    }

    static var seeds: [[UInt8]] {
        let early = UInt8(CellCommand.allCases.firstIndex(of: .relayEarly) ?? 0)
        let relay = UInt8(CellCommand.allCases.firstIndex(of: .relay) ?? 0)
        let begin = UInt8(RelayCommand.allCases.firstIndex(of: .begin) ?? 0)
        return [
            // An OR that is made an inner one, passes cells on, and is left; one that answers a Begin; two lost next hops.
            [0, 0, early, 3, 3, 4, 1, 0, relay, 7, relay, 6], [0, 0, relay, 2, begin, 6, 6], [0, 3, 11, 5, 5],
            [0, 3, 3, 4, 1, 5, 6], [0] + Array([[UInt8]](repeating: [0, early], count: 8).joined()) + [6],
            // Circuits of four hops and of one.
            [7, 0, 5, 2, 5, 0x12, 5, 0x22, 5, 15], [1, 0, 5, 15],
        ]
    }
}
