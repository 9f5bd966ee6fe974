import OnionCrypto
import Testing

@testable import OnionRouter

@Suite("Link peer")
struct LinkPeerTests {
    private let heron = Ed25519PrivateKey().publicKey
    private let finch = Ed25519PrivateKey().publicKey

    @Test("an OR that dialled before the consensus named it becomes one when it does")
    func joins() {
        var peer = LinkPeer(nil)
        #expect(peer.isClient && peer.mayCreate && !peer.isListed && peer.identity == nil)
        #expect(peer.consensusChanged(listed: nil) == .none)
        #expect(peer.consensusChanged(listed: self.heron) == .joined(self.heron))
        #expect(!peer.isClient && peer.mayCreate && peer.isListed && peer.identity == self.heron)
        #expect(peer.consensusChanged(listed: self.heron) == .none)
    }

    @Test("an OR that has left creates nothing, counts for nothing, and never as a client")
    func leaves() {
        var peer = LinkPeer(self.heron)
        #expect(peer.consensusChanged(listed: nil) == .left(self.heron))
        #expect(!peer.isClient && !peer.mayCreate && !peer.isListed)
        // Still not to be extended back to.
        #expect(peer.identity == self.heron)
        #expect(peer.consensusChanged(listed: nil) == .none)
        #expect(peer.consensusChanged(listed: self.heron) == .joined(self.heron))
        #expect(peer.mayCreate && peer.isListed)
    }

    @Test("a link key that belongs to another OR now takes the link along")
    func replaced() {
        var peer = LinkPeer(self.heron)
        #expect(peer.consensusChanged(listed: self.finch) == .replaced(self.heron, by: self.finch))
        #expect(peer.identity == self.finch && peer.isListed)
    }
}
