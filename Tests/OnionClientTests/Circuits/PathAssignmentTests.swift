import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionClient

@Suite("Path assignment")
struct PathAssignmentTests {
    @Test("a ticket's salt counts until the ticket expires, and not from then on")
    func expiry() throws {
        let (secret, salt, digest) = (someBytes(), someBytes(), someBytes())
        var assignment = PathAssignment(secret: secret)
        let ticket = try PathTicket.make(
            commitment: assignment.commitment, salt: salt, expires: 1000, signedBy: Ed25519PrivateKey())
        assignment.adopt(ticket, for: secret)
        func seed(_ salt: Bytes32, _ counter: UInt64) -> Bytes32 {
            PathSeed.derive(secret: secret, salt: salt, consensusDigest: digest, counter: counter)
        }
        #expect(assignment.nextSeed(consensusDigest: digest, now: 999) == seed(salt, 0))
        #expect(assignment.nextSeed(consensusDigest: digest, now: 1000) == seed(.zero, 1))
    }

    private func someBytes() -> Bytes32 { SecureRandom.bytes32() }
}
