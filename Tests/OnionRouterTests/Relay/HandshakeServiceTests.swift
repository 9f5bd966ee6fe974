import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionCrypto
import Testing

@testable import OnionRouter

@Suite("Handshake service")
struct HandshakeServiceTests {
    private static let identity = Ed25519PrivateKey().publicKey
    private static let onionKey = X25519PrivateKey()
    private let threads = NIOThreadPool(numberOfThreads: 1)

    init() { self.threads.start() }

    private func service(total: Int = 100, perLink: Int = 100, keys: [X25519PrivateKey] = [Self.onionKey])
        -> HandshakeService
    {
        let threads = self.threads
        return HandshakeService(
            identity: Self.identity, onionKeys: keys,
            limits: .init(total: total, perLink: perLink, patience: .seconds(60)),
            executor: { work in threads.submit { _ in work() } })
    }

    private final class Key {}
    private let link = Key()

    private func answer(_ service: HandshakeService, _ create: [UInt8]) async -> HandshakeService.Answer? {
        await withCheckedContinuation { continuation in
            service.answer(create, from: ObjectIdentifier(self.link), isRouter: false) {
                continuation.resume(returning: try? $0.get())
            }
        }
    }

    @Test("answers what is meant for it, with either key")
    func answers() async throws {
        let old = X25519PrivateKey()
        let service = self.service(keys: [Self.onionKey, old])
        for key in [Self.onionKey, old] {
            let client = CircuitHandshake.Client(identity: Self.identity, onionKey: key.publicKey)
            let created = try #require(await self.answer(service, client.create)).created
            #expect(throws: Never.self) { try client.complete(created: created) }
        }
        // From the next rotation on, the old one is no key any more.
        service.rotate(identity: Self.identity, onionKeys: [Self.onionKey])
        let late = CircuitHandshake.Client(identity: Self.identity, onionKey: old.publicKey)
        #expect(await self.answer(service, late.create) == nil)
        try await self.threads.shutdownGracefully()
    }

    @Test("a newcomer's handshake takes the place of one of a link with many, which hears no")
    func displaced() throws {
        let jobs = NIOLockedValueBox<[@Sendable () -> Void]>([])
        let service = HandshakeService(
            identity: Self.identity, onionKeys: [Self.onionKey],
            limits: .init(total: 3, perLink: 3, patience: .seconds(60)),
            executor: { work in jobs.withLockedValue { $0.append(work) } })
        let heard = NIOLockedValueBox<[String: Bool]>([:])
        func ask(_ name: String, from link: Key, isRouter: Bool = false) {
            let client = CircuitHandshake.Client(identity: Self.identity, onionKey: Self.onionKey.publicKey)
            service.answer(client.create, from: ObjectIdentifier(link), isRouter: isRouter) { answer in
                heard.withLockedValue { $0[name] = (try? answer.get()) != nil }
            }
        }
        for name in ["a1", "a2", "a3"] { ask(name, from: self.link) }
        let other = Key()
        ask("b1", from: other)
        #expect(heard.withLockedValue { $0 } == ["a3": false])
        for job in jobs.withLockedValue({ $0 }) { job() }
        #expect(heard.withLockedValue { $0 } == ["a1": true, "a2": true, "a3": false, "b1": true])
    }

    @Test("an OR's link makes way for no client's")
    func notDisplaced() {
        let service = HandshakeService(
            identity: Self.identity, onionKeys: [Self.onionKey],
            limits: .init(total: 3, perLink: 3, patience: .seconds(60)), executor: { _ in })
        let heard = NIOLockedValueBox<[String]>([])
        func ask(_ name: String, from link: Key, isRouter: Bool) {
            service.answer([], from: ObjectIdentifier(link), isRouter: isRouter) { answer in
                if case .failure(.busy) = answer { heard.withLockedValue { $0.append(name) } }
            }
        }
        for name in ["router1", "router2", "router3"] { ask(name, from: self.link, isRouter: true) }
        let client = Key()
        ask("client", from: client, isRouter: false)
        #expect(heard.withLockedValue { $0 } == ["client"])
    }

    @Test("says nothing to what is not meant for it")
    func refusals() async throws {
        let service = self.service()
        let wrong = [
            CircuitHandshake.Client(identity: Ed25519PrivateKey().publicKey, onionKey: Self.onionKey.publicKey).create,
            CircuitHandshake.Client(identity: Self.identity, onionKey: X25519PrivateKey().publicKey).create,
            [], [UInt8](repeating: 0, count: CircuitHandshake.createByteCount),
        ]
        for create in wrong { #expect(await self.answer(service, create) == nil) }
        try await self.threads.shutdownGracefully()
    }

    @Test("takes as many as its limits, of all links and of one, and refuses the next at once")
    func bounded() async throws {
        let service = self.service(total: 3, perLink: 2)
        let create = CircuitHandshake.Client(identity: Self.identity, onionKey: Self.onionKey.publicKey).create
        let (first, second) = (Key(), Key())
        // The only thread is held in the first answer until the test lets go.
        let gate = ConditionLock(value: 0)
        service.answer(create, from: ObjectIdentifier(first), isRouter: false) { _ in
            gate.lock(whenValue: 0)
            gate.unlock(withValue: 1)
            gate.lock(whenValue: 2)
            gate.unlock()
        }
        gate.lock(whenValue: 1)
        gate.unlock()
        let answered = NIOLockedValueBox((waiting: 0, refused: 0))
        let done = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: Void.self)
        func ask(_ link: Key) {
            service.answer(create, from: ObjectIdentifier(link), isRouter: false) { answer in
                let waiting = answered.withLockedValue { counts in
                    if case .failure = answer { counts.refused += 1 } else { counts.waiting += 1 }
                    return counts.waiting
                }
                if waiting == 3 { done.succeed() }
            }
        }
        ask(first)
        ask(first)
        #expect(answered.withLockedValue { $0.refused } == 0)
        ask(first)
        #expect(answered.withLockedValue { $0.refused } == 1)
        ask(second)
        #expect(answered.withLockedValue { $0.refused } == 1)
        ask(second)
        #expect(answered.withLockedValue { $0.refused } == 2)
        gate.lock()
        gate.unlock(withValue: 2)
        try await done.futureResult.get()
        try await self.threads.shutdownGracefully()
    }
}
