import OnionCells
import OnionCircuits
import OnionCrypto
import Testing

@Suite("Router circuit")
struct RouterCircuitTests {
    private func extending(_ circuit: RouterCircuit = RouterCircuit()) throws -> RouterCircuit {
        var circuit = circuit
        try circuit.extendReceived(
            to: identity(3), in: .relayEarly, ownIdentity: identity(2), previousHop: identity(1))
        return circuit
    }

    private func relaying() throws -> RouterCircuit {
        var circuit = try self.extending()
        #expect(try circuit.nextHopCreated() == .sendExtended)
        return circuit
    }

    @Test("eight RelayEarly pass, the ninth destroys the circuit; Relay is not counted")
    func relayEarlyBudget() throws {
        var circuit = RouterCircuit()
        for _ in 0..<8 {
            try circuit.forwardCellReceived(.relayEarly)
            try circuit.forwardCellReceived(.relay)
        }
        #expect(throws: CircuitError.tooManyRelayEarly) { try circuit.forwardCellReceived(.relayEarly) }
        try circuit.forwardCellReceived(.relay)
    }

    @Test(
        "only relay cells are relayed, and RelayEarly only forward",
        arguments: CellCommand.allCases.filter { $0 != .relay && $0 != .relayEarly })
    func otherCells(command: CellCommand) throws {
        var circuit = RouterCircuit()
        #expect(throws: CircuitError.replyNotDue) { try circuit.forwardCellReceived(command) }
        #expect(throws: CircuitError.replyNotDue) { try RouterCircuit.backwardCellReceived(command) }
        try RouterCircuit.backwardCellReceived(.relay)
        #expect(throws: CircuitError.relayEarlyBackward) { try RouterCircuit.backwardCellReceived(.relayEarly) }
    }

    @Test("an unrecognised cell passes only where there is a next hop")
    func unrecognised() throws {
        #expect(throws: CircuitError.cellNotRecognised) { try RouterCircuit().cellNotRecognised() }
        #expect(throws: CircuitError.cellNotRecognised) { try self.extending().cellNotRecognised() }
        try self.relaying().cellNotRecognised()
    }

    @Test("Extend is refused in Relay, to itself, back, while one is pending, and with a next hop")
    func extendRules() throws {
        var circuit = RouterCircuit()
        #expect(throws: CircuitError.extendNotInRelayEarly) {
            try circuit.extendReceived(to: identity(3), in: .relay, ownIdentity: identity(2), previousHop: nil)
        }
        #expect(throws: CircuitError.extendToSelf) {
            try circuit.extendReceived(to: identity(2), in: .relayEarly, ownIdentity: identity(2), previousHop: nil)
        }
        #expect(throws: CircuitError.extendToPreviousHop) {
            try circuit.extendReceived(
                to: identity(1), in: .relayEarly, ownIdentity: identity(2), previousHop: identity(1))
        }
        #expect(circuit.isLastHop)
        #expect(throws: CircuitError.extendTwice) { try self.extending(self.extending()) }
        #expect(throws: CircuitError.extendTwice) { try self.extending(self.relaying()) }
    }

    @Test("messages are judged by where the OR stands")
    func messages() throws {
        try RouterCircuit().messageReceived(.extend)
        try RouterCircuit().messageReceived(.begin)
        #expect(throws: CircuitError.messageNotAllowed(.extended)) { try RouterCircuit().messageReceived(.extended) }
        #expect(throws: CircuitError.extendTwice) { try self.extending().messageReceived(.extend) }
        try self.extending().messageReceived(.drop)
        #expect(throws: CircuitError.messageNotAllowed(.data)) { try self.extending().messageReceived(.data) }
        #expect(throws: CircuitError.messageNotAllowed(.data)) { try self.relaying().messageReceived(.data) }
        #expect(throws: CircuitError.extendTwice) { try self.relaying().messageReceived(.extend) }
    }

    @Test("Created is taken once, while an Extend is pending")
    func created() throws {
        var last = RouterCircuit()
        #expect(throws: CircuitError.replyNotDue) { try last.nextHopCreated() }
        var relaying = try self.relaying()
        #expect(throws: CircuitError.replyNotDue) { try relaying.nextHopCreated() }
        var gone = try self.extending()
        #expect(gone.previousHopGone() == .abandonExtend)
        #expect(try gone.nextHopCreated() == .destroyNextHop(.unspecified))
    }

    @Test("a fault ahead becomes one Truncated, then Destroy")
    func faultAhead() throws {
        for start in [try self.extending(), try self.relaying()] {
            var circuit = start
            #expect(circuit.nextHopGone(.connectFailed) == .truncateThenDestroy(.connectFailed))
            #expect(circuit.isClosed)
            #expect(circuit.nextHopGone(.linkLost) == .none)
            #expect(circuit.previousHopGone() == .none)
        }
    }

    @Test("a lost client becomes a Destroy with reason 0")
    func faultBehind() throws {
        var relaying = try self.relaying()
        #expect(relaying.previousHopGone() == .destroyNextHop(.unspecified))
        #expect(relaying.nextHopGone(.linkLost) == .none)
        var last = RouterCircuit()
        #expect(last.previousHopGone() == .endStreams)
        #expect(last.failed() == .none)
    }
}
