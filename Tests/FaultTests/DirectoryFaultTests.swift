import NIOCore
import Testing

@testable import OnionRouter

/// What a router and its directory do about faults that are too particular to be drawn often.
@Suite("Directory faults in a simulated network")
struct DirectoryFaultTests {
    /// Run `body` in a network that has come about and in which nobody asks for anything.
    private static func run(_ body: (SimulatedNetwork) throws -> Void) throws {
        let network = try SimulatedNetwork(plan: FaultPlan(seed: 1, faultCount: 0))
        #expect(try network.start())
        try body(network)
        network.endClient()
        network.stopRouters()
        network.simulation.run(for: .seconds(1))
    }

    private static func cutDirectoryLink(of name: String, _ network: SimulatedNetwork) {
        for wire in network.openWires(.directory) where wire.name == "\(name)-directory" { wire.cut() }
    }

    @Test("a router whose clock was ahead when it registered is listed again once the clock is right")
    func clockSetBack() throws {
        try Self.run { network in
            // As much as the directory bears.
            network.clocks[0].error = 240
            Self.cutDirectoryLink(of: "r0", network)
            network.simulation.run(for: .seconds(20))
            #expect(network.isWhole, "\(network.lists)")
            network.clocks[0].error = 0
            Self.cutDirectoryLink(of: "r0", network)
            network.simulation.run(for: .seconds(20))
            #expect(network.isWhole, "\(network.lists)")
            #expect(network.openWires(.directory).contains { $0.name == "r0-directory" })
        }
    }

    @Test("a router whose clock is wrong does not come again and again without a pause") func clockWrong() throws {
        try Self.run { network in
            network.clocks[0].error = -86_400
            Self.cutDirectoryLink(of: "r0", network)
            let before = network.wires.count { $0.name == "r0-directory" }
            network.simulation.run(for: .seconds(60))
            // The longest pause is 4 s, the shortest half of that.
            let count = network.wires.count { $0.name == "r0-directory" } - before
            #expect((5...40).contains(count))
            network.clocks[0].error = 0
            // Until the client asks again: a list is fresh for a minute.
            network.simulation.run(for: .seconds(90))
            #expect(network.isWhole, "\(network.lists)")
        }
    }

    @Test(
        "a directory whose clock was wrong for a while gives out newer lists than before once it is right",
        arguments: [-86_400, -240, 240, 86_400] as [Int64])
    func directoryClock(seconds: Int64) throws {
        try Self.run { network in
            let before = network.routers.map(\.shared.view.revision)
            network.clocks[SimulatedNetwork.directoryNode].error = seconds
            network.apply(.killDirectory(restartAfter: .seconds(1)))
            network.simulation.run(for: .seconds(40))
            let meanwhile = network.routers.map(\.shared.view.revision)
            #expect(zip(meanwhile, before).allSatisfy { $0 >= $1 }, "\(network.lists)")
            network.clocks[SimulatedNetwork.directoryNode].error = 0
            // Longer than a list stays without a new signature.
            network.simulation.run(for: .seconds(60))
            #expect(network.isWhole, "\(network.lists)")
            #expect(
                zip(network.routers, meanwhile).allSatisfy { $0.shared.view.revision > $1 }, "\(network.lists)")
        }
    }
}
