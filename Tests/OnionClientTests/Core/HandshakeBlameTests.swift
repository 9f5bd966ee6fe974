import NIOCore
import OnionCircuits
import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionClient

@Suite("Whom a client blames for a handshake that failed", .timeLimit(.minutes(1)))
struct HandshakeBlameTests {
    /// Routers of paths that are drawn after handshakes with hop number `hop` of one path have failed, and that path.
    private func drawn(afterFailureAt hop: Int) async throws -> (path: [Ed25519PublicKey], next: [[Ed25519PublicKey]]) {
        var drawn: (path: [Ed25519PublicKey], next: [[Ed25519PublicKey]]) = ([], [])
        let routers = try (0..<6).map { try TestRouter().listed("router\($0)", port: 1) }
        try await withCoreAlone(routers) { alone in
            drawn = try await alone.onLoop { core in
                func path() throws -> [Ed25519PublicKey] {
                    let circuit = try core.beginCircuit(owner: core)
                    defer { circuit.close() }
                    return circuit.path.map(\.identity)
                }
                let circuit = try core.beginCircuit(owner: core)
                core.circuit(circuit, ended: .handshakeFailed(hop: hop))
                defer { circuit.close() }
                return (circuit.path.map(\.identity), try (0..<30).map { _ in try path() })
            }
        }
        return drawn
    }

    @Test("the hop and the one that passed its answer on are left out for a while")
    func lastHop() async throws {
        let (path, next) = try await self.drawn(afterFailureAt: 2)
        for other in next {
            #expect(other[0] == path[0])
            #expect(Set(other.dropFirst()).isDisjoint(with: path.dropFirst()))
        }
    }

    @Test("the guard is judged by its link alone")
    func middle() async throws {
        let (path, next) = try await self.drawn(afterFailureAt: 1)
        #expect(next.allSatisfy { $0[0] == path[0] && !$0.contains(path[1]) })
        #expect(next.contains { $0.contains(path[2]) })
    }
}
