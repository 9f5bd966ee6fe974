import NIOCore
import OnionDirectory
import Testing

@testable import OnionRouter

/// Limits that take a whole network, and a long time, to reach.
@Suite("Limits in a simulated network")
struct SimulatedLimitTests {
    @Test("a router waits so long for the answer to its Create and no longer")
    func create() throws {
        let plan = FaultPlan(seed: 3, faultCount: 0)
        // So that the client does not give up before.
        let network = try SimulatedNetwork(plan: plan, parameters: [(.circuitBuildTimeout, 60_000)])
        let simulation = network.simulation
        #expect(try network.start())
        simulation.run(until: simulation.now + .seconds(60)) { network.isQuiet }
        // All but the guard answer no handshake from now on.
        let guards = Set(network.wires.filter { $0.isOpen && $0.name.hasPrefix("client-r") }.map(\.name))
        for router in network.routers { router.isMute = !guards.contains("client-\(router.name)") }
        let transfer = Transfer(
            index: 100, startsAfter: .zero, requestByteCount: 1, responseByteCount: 1, earlyByteCount: 0,
            halfCloses: false, isSlow: false, user: 9)
        network.begin(transfer, after: .zero)
        var waiting: NextHopCircuit?
        simulation.run(until: simulation.now + .seconds(60)) {
            waiting = Self.unanswered(network).first
            return waiting != nil
        }
        let circuit = try #require(waiting)
        let limit = TimeAmount.seconds(15)
        simulation.run(for: limit - .nanoseconds(1))
        #expect(Self.unanswered(network).contains { $0 === circuit })
        simulation.run(for: .nanoseconds(1))
        #expect(!Self.unanswered(network).contains { $0 === circuit })

        network.endClient()
        network.stopRouters()
        simulation.run(for: .seconds(1))
    }

    private static func unanswered(_ network: SimulatedNetwork) -> [NextHopCircuit] {
        network.routers.flatMap { router in
            router.onEachLoop(network.simulation) { loop in
                loop.tables.values.flatMap { table in
                    table.orderedCircuits.compactMap { entry -> NextHopCircuit? in
                        guard case .next(let circuit) = entry, !circuit.isCreated else { return nil }
                        return circuit
                    }
                }
            }
        }.flatMap { $0 }
    }
}
