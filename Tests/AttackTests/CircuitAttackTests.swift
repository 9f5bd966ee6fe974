import AttackSuite
import Testing

@Suite("Attacks on circuits", .serialized, .timeLimit(.minutes(5)))
struct CircuitAttackTests {
    @Test("cells that break a rule come to nothing", arguments: ["cell", "handshake"])
    func circuits(family: String) async throws {
        try await AttackedNetwork.run(parameters: AttackedParameters.all) { network in
            try await network.play(try AttackCatalogue.select([family]))
        }
    }
}
