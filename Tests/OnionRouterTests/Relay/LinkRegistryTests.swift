import NIOCore
import OnionCrypto
import OnionLink
import Testing

@testable import OnionRouter

@Suite("Links to other routers")
struct LinkRegistryTests {
    private static let heron = ListedRouter.heron.identity.publicKey

    private struct Links {
        let registry: LinkRegistry
        let dialled: LinkHandle
        let accepted: LinkHandle
        private let eventLoop: any EventLoop
        private let isDialling: NIOLoopBoundBox<Bool>
        private let promise: EventLoopPromise<LinkHandle>

        init(_ router: TestRouter, own: Ed25519PublicKey = TestRouter.identity) throws {
            self.registry = LinkRegistry(ownIdentity: own)
            self.dialled = LinkHandle(try router.accept().link, on: router.loop)
            self.accepted = LinkHandle(try router.accept().link, on: router.loop)
            self.eventLoop = router.eventLoop
            self.isDialling = NIOLoopBoundBox(false, eventLoop: router.eventLoop)
            self.promise = router.eventLoop.makePromise(of: LinkHandle.self)
        }

        /// Which link a circuit to heron goes on; nil if one has to be dialled, which then is under way.
        func found() throws -> ObjectIdentifier? {
            self.isDialling.value = false
            let future = self.registry.link(to: LinkRegistryTests.heron, on: self.eventLoop) {
                self.isDialling.value = true
                return self.promise.futureResult
            }
            return self.isDialling.value ? nil : try future.wait().key
        }

        /// Whether a link is being dialled already.
        func joins() -> Bool {
            self.isDialling.value = false
            _ = self.registry.link(to: LinkRegistryTests.heron, on: self.eventLoop) {
                self.isDialling.value = true
                return self.promise.futureResult
            }
            return !self.isDialling.value
        }

        func end() { self.promise.fail(LinkError.closed) }
    }

    @Test("of two links between two ORs, the one that the lower identity dialled gets new circuits") func preference()
        throws
    {
        try TestRouter.run { router in
            let other = Ed25519PrivateKey().publicKey
            let (lower, higher) = other < Self.heron ? (other, Self.heron) : (Self.heron, other)
            for (own, peer, isDialled) in [(lower, higher, true), (higher, lower, false)] {
                let links = try Links(router, own: own)
                links.registry.opened(links.dialled, to: peer, isDialled: true)
                links.registry.opened(links.accepted, to: peer, isDialled: false)
                let found = links.registry.link(to: peer, on: router.eventLoop) {
                    router.eventLoop.makeFailedFuture(LinkError.closed)
                }
                #expect(try found.wait().key == (isDialled ? links.dialled.key : links.accepted.key))
                links.end()
            }
        }
    }

    @Test("a link stays when another is lost, or when dialling fails", arguments: [true, false])
    func stays(isDialled: Bool) throws {
        try TestRouter.run { router in
            let links = try Links(router)
            let (one, other) = isDialled ? (links.dialled, links.accepted) : (links.accepted, links.dialled)
            links.registry.opened(one, to: Self.heron, isDialled: isDialled)
            links.registry.diallingFailed(Self.heron)
            #expect(try links.found() == one.key)
            links.registry.retire(other.key, of: Self.heron)
            #expect(try links.found() == one.key)
            links.registry.opened(other, to: Self.heron, isDialled: !isDialled)
            links.registry.retire(other.key, of: Self.heron)
            #expect(try links.found() == one.key)
            links.registry.retire(one.key, of: Self.heron)
            #expect(try links.found() == nil)
            links.end()
        }
    }

    @Test("an OR is dialled once for all who wait, until that has come to something") func dialling() throws {
        try TestRouter.run { router in
            let links = try Links(router)
            #expect(!links.joins())
            #expect(links.joins())
            links.registry.retire(links.accepted.key, of: Self.heron)
            #expect(links.joins())
            // A link that comes in serves those who come then.
            links.registry.opened(links.accepted, to: Self.heron, isDialled: false)
            #expect(try links.found() == links.accepted.key)
            links.registry.retire(links.accepted.key, of: Self.heron)
            #expect(links.joins())
            links.registry.diallingFailed(Self.heron)
            #expect(!links.joins())
            links.registry.opened(links.dialled, to: Self.heron, isDialled: true)
            links.registry.retire(links.dialled.key, of: Self.heron)
            #expect(!links.joins())
            links.end()
        }
    }
}
