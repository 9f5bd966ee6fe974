import OnionCells
import OnionCircuits
import Testing

@Suite("Circuit errors")
struct CircuitErrorTests {
    @Test("broken rules cannot be told apart from outside")
    func coarse() {
        let faults: [CircuitError] = [
            .sendMeNotDue, .sendMeTagWrong, .cellNotRecognised, .malformedCell(.unknownCommand(99)), .tooManyRelayEarly,
            .relayEarlyBackward,
            .messageNotAllowed(.data), .extendNotInRelayEarly, .extendTwice, .extendToSelf, .extendToPreviousHop,
            .replyNotDue, .streamUnknown(StreamID(rawValue: 1)), .streamIDReused(StreamID(rawValue: 1)),
            .messageAfterEnd(.data), .messageBeforeConnected(.data), .dataPastXOff, .xOffOutOfTurn, .xOffStorm,
        ]
        for fault in faults {
            #expect(fault.destroyReason == .protocolViolation)
            #expect(fault.recovery == .newPath)
            #expect(fault.scope == .circuit)
        }
    }

    @Test("what to do next follows from where it went wrong")
    func recovery() {
        #expect(CircuitError.handshakeFailed(hop: 1).recovery == .refreshConsensusThenNewPath)
        #expect(CircuitError.buildTimedOut(hop: 2).recovery == .newPathWithout(hop: 2))
        #expect(CircuitError.truncated(by: 0, .connectFailed).recovery == .newPathWithout(hop: 1))
        #expect(CircuitError.destroyed(hop: 1, .unspecified).recovery == .newPathWithout(hop: 1))
        #expect(CircuitError.destroyed(hop: nil, .unspecified).recovery == .newPath)
        #expect(CircuitError.linkLost.recovery == .newLink)
        #expect(CircuitError.resourceLimit.recovery == .waitThenNewPath)
        #expect(CircuitError.resourceLimit.destroyReason == .resourceLimit)
        #expect(CircuitError.handshakeFailed(hop: 0).destroyReason == .handshakeFailed)
        #expect(CircuitError.buildTimedOut(hop: 0).destroyReason == .finished)
    }
}
