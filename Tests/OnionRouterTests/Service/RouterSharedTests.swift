import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionRouter

@Suite("What all loops of a router share")
struct RouterSharedTests {
    private let eventLoop = EmbeddedEventLoop()

    private func shared(_ view: NetworkView) -> RouterShared {
        let identity = Ed25519PrivateKey().publicKey
        let metrics = RouterMetrics()
        return RouterShared(
            identity: identity, group: self.eventLoop,
            handshakes: HandshakeService(
                identity: identity, onionKeys: [], limits: view.handshakeLimits, executor: { $0() }),
            connector: ExitConnector(
                resolver: NoNames(), gate: ExitGate(policy: .standard, isOwn: { _ in false }), directory: "192.0.2.1",
                directoryPort: 9030),
            dial: { _, _, loop, _ in loop.makeFailedFuture(ChannelError.ioOnClosedChannel) },
            admission: RouterAdmission(view: view, directory: nil, descriptorCount: 1024, metrics: metrics),
            metrics: metrics, view: view)
    }

    /// Whether the wait is over.
    private func ask(_ shared: RouterShared) -> () -> Bool {
        let isOver = NIOLoopBoundBox(false, eventLoop: self.eventLoop)
        shared.refreshView(on: self.eventLoop).whenComplete { _ in isOver.value = true }
        return { isOver.value }
    }

    @Test("an Extend to nowhere waits so long for a newer consensus and no longer, with all that come meanwhile")
    func patience() throws {
        let shared = self.shared(try TestNetwork.view())
        let first = self.ask(shared)
        self.eventLoop.advanceTime(by: RouterShared.refreshPatience - .nanoseconds(1))
        let joined = self.ask(shared)
        #expect(!first() && !joined())
        self.eventLoop.advanceTime(by: .nanoseconds(1))
        #expect(first() && joined())
    }

    @Test("there is one wait in an interval: within it no other begins, and after it one does") func interval() throws {
        let view = try TestNetwork.view()
        let shared = self.shared(view)
        let interval = TimeAmount.seconds(Int64(view.parameters[.extendRefreshInterval]))
        _ = self.ask(shared)
        self.eventLoop.advanceTime(by: interval - .nanoseconds(1))
        #expect(self.ask(shared)())
        self.eventLoop.advanceTime(by: .nanoseconds(1))
        let next = self.ask(shared)
        #expect(!next())
        // A newer consensus ends it.
        shared.publish(try TestNetwork.view())
        #expect(next())
    }
}
