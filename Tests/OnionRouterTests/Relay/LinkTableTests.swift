import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionRouter

@Suite("Link table")
struct LinkTableTests {
    @Test("a client's link has room for its own circuits, one between ORs for everybody's; not for one more")
    func room() throws {
        let parameters = try NetworkParameters().setting(["circuits-per-client-link=3", "circuits-per-router-link=5"])
        let client = LinkPeer(nil)
        var router = LinkPeer(Ed25519PrivateKey().publicKey)
        #expect(LinkTable.hasRoom(beside: 2, of: client, parameters))
        #expect(!LinkTable.hasRoom(beside: 3, of: client, parameters))
        #expect(LinkTable.hasRoom(beside: 4, of: router, parameters))
        #expect(!LinkTable.hasRoom(beside: 5, of: router, parameters))
        // One that has left the consensus keeps what it has.
        _ = router.consensusChanged(listed: nil)
        #expect(LinkTable.hasRoom(beside: 4, of: router, parameters))
        #expect(!LinkTable.hasRoom(beside: 5, of: router, parameters))
    }
}
