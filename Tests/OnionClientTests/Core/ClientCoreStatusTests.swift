import NIOCore
import Testing

@testable import OnionClient

@Suite("A client's status", .timeLimit(.minutes(1)))
struct ClientCoreStatusTests {
    private static let obstacle = ClientProgress(
        percent: 75, text: "building a circuit (the last 3 failed; trying again)")

    /// Run `body` with a core that has three circuits under construction.
    private func withThree(_ body: (CoreAlone) async throws -> Void) async throws {
        let routers = try (0..<5).map { try TestRouter().listed("router\($0)", port: 1) }
        try await withCoreAlone(routers, change: { $0.cleanCircuitCount = 3 }) { alone in
            while try await alone.onLoop({ $0.circuits.count < 3 }) {}
            try await body(alone)
        }
    }

    /// Let so many circuits fail.
    private func fail(_ core: ClientCore, _ count: Int) {
        for circuit in core.circuits.values.prefix(count) { circuit.overflowed() }
    }

    @Test("a client that was ready says when its circuits fail one after the other, and when it is ready again")
    func failing() async throws {
        try await self.withThree { alone in
            let board = try await alone.onLoop { core in
                core.board.report(.ready)
                self.fail(core, 2)
                #expect(core.status().progress.isReady)
                self.fail(core, 1)
                #expect(core.status().progress == Self.obstacle)
                return core.board
            }
            var updates = board.updates().makeAsyncIterator()
            while let progress = await updates.next(), progress != Self.obstacle {}
            while try await alone.onLoop({ $0.circuits.isEmpty }) {}
            try await alone.onLoop { core in
                // A newer list is no circuit.
                core.pool.pauseOver()
                #expect(core.status().progress == Self.obstacle)
                core.circuitReady(try #require(core.circuits.values.first))
                #expect(core.status().progress.isReady)
            }
            while let progress = await updates.next(), !progress.isReady {}
        }
    }

    @Test("while a circuit is open, failures are nobody's concern")
    func oneOpen() async throws {
        try await self.withThree { alone in
            try await alone.onLoop { core in
                core.board.report(.ready)
                self.fail(core, 2)
                core.pool.circuitOpened(try #require(core.circuits.keys.first), now: core.eventLoop.now)
            }
            while try await alone.onLoop({ $0.circuits.count < 3 }) {}
            try await alone.onLoop { core in
                for circuit in core.circuits.values where core.pool.phase(of: circuit.key) == .building {
                    circuit.overflowed()
                }
                #expect(core.failuresInARow == 4 && core.status().progress.isReady)
            }
        }
    }

    @Test("a start tells once that circuits fail")
    func start() async throws {
        try await self.withThree { alone in
            try await alone.onLoop { core in
                self.fail(core, 2)
                #expect(core.board.current.text == "connecting to a guard")
                self.fail(core, 1)
                #expect(core.board.current == Self.obstacle && core.status().progress == Self.obstacle)
            }
        }
    }
}
