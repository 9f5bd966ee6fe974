import NIOCore
import OnionCircuits
import Testing

@Suite("Congestion parameters")
struct CongestionParametersTests {
    @Test("the defaults are the proposal's, divided by four")
    func defaults() throws {
        #expect(try CongestionParameters() == .proposal324)
    }

    @Test("windows at the limits are accepted")
    func atLimits() throws {
        _ = try CongestionParameters(initialWindow: 32, minimumWindow: 32, maximumWindow: 32)
        _ = try CongestionParameters(initialWindow: 16_384, minimumWindow: 16_384, maximumWindow: 16_384)
        _ = try CongestionParameters(alpha: 1, beta: 1, gamma: 1, delta: 1, slowStartCap: 32, slowStartMaximum: 32)
        _ = try CongestionParameters(gamma: 16_384, delta: 16_384)
    }

    @Test(
        "windows past the limits or out of order are refused",
        arguments: [(31, 31, 100), (64, 65, 100), (101, 64, 100), (64, 64, 16_385), (0, 0, 0), (-1, -1, 5)])
    func windows(initial: Int, minimum: Int, maximum: Int) {
        #expect(throws: CircuitError.parametersInvalid(.windowsOutOfOrder)) {
            try CongestionParameters(initialWindow: initial, minimumWindow: minimum, maximumWindow: maximum)
        }
    }

    @Test("thresholds out of order are refused")
    func thresholds() {
        let refusal = CircuitError.parametersInvalid(.thresholdsOutOfOrder)
        #expect(throws: refusal) { try CongestionParameters(alpha: 0) }
        #expect(throws: refusal) { try CongestionParameters(alpha: 63, beta: 62) }
        #expect(throws: refusal) { try CongestionParameters(beta: 78, delta: 77) }
        #expect(throws: refusal) { try CongestionParameters(delta: 16_385) }
        #expect(throws: refusal) { try CongestionParameters(gamma: 0) }
        #expect(throws: refusal) { try CongestionParameters(gamma: 16_385) }
    }

    @Test("slow start, queue share and queue delay have ranges")
    func ranges() throws {
        let refusal = CircuitError.parametersInvalid(.slowStartCapOutOfRange)
        #expect(throws: refusal) { try CongestionParameters(slowStartCap: 31) }
        #expect(throws: refusal) { try CongestionParameters(slowStartCap: 16_385) }
        #expect(throws: refusal) { try CongestionParameters(slowStartMaximum: 31) }
        #expect(throws: refusal) { try CongestionParameters(slowStartMaximum: 16_385) }
        #expect(throws: CircuitError.parametersInvalid(.queuePercentOutOfRange)) {
            try CongestionParameters(queuePercent: 101)
        }
        #expect(throws: CircuitError.parametersInvalid(.queueDelayOutOfRange)) {
            try CongestionParameters(queueDelay: .milliseconds(1001))
        }
        #expect(throws: CircuitError.parametersInvalid(.queueDelayOutOfRange)) {
            try CongestionParameters(queueDelay: .nanoseconds(-1))
        }
        _ = try CongestionParameters(queueDelay: .seconds(1))
    }

    @Test("a refusal tells a person what to do")
    func advice() {
        let error = CircuitError.parametersInvalid(.windowsOutOfOrder)
        #expect(error.scope == .process)
        #expect(
            error.recovery
                == .fixConfiguration("choose 32 ≤ minimum ≤ initial ≤ maximum ≤ 16384 for the congestion window"))
    }
}
