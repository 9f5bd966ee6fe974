import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink

/// What all event loops of the OR share. Asked once a circuit or less, never once a cell.
final class RouterShared: Sendable {
    let identity: Ed25519PublicKey
    let registry: LinkRegistry
    let handshakes: HandshakeService
    let connector: ExitConnector
    let dial: LinkTransport.Dial
    let admission: RouterAdmission
    let metrics: RouterMetrics
    /// Event loops that share the work, and what the process may queue.
    let loopCount: Int
    private let group: any EventLoopGroup
    private let state: NIOLockedValueBox<State>

    private struct State {
        var view: NetworkView
        var loops: [ObjectIdentifier: RouterLoop.Reference] = [:]
        var isAccepting = true
        /// Who waits for a consensus newer than the one there is.
        var waiting: [EventLoopPromise<NetworkView>] = []
        var lastRefresh: NIODeadline?
    }

    /// How long an Extend to an OR that is not known waits for a newer consensus.
    static let refreshPatience = TimeAmount.seconds(3)

    init(
        identity: Ed25519PublicKey, group: any EventLoopGroup, handshakes: HandshakeService, connector: ExitConnector,
        dial: @escaping LinkTransport.Dial, admission: RouterAdmission, metrics: RouterMetrics, view: NetworkView
    ) {
        self.identity = identity
        self.registry = LinkRegistry(ownIdentity: identity)
        self.group = group
        self.loopCount = group.makeIterator().reduce(0) { count, _ in count + 1 }
        self.handshakes = handshakes
        self.connector = connector
        self.dial = dial
        self.admission = admission
        self.metrics = metrics
        self.state = NIOLockedValueBox(State(view: view))
    }

    /// The newest view of the network.
    var view: NetworkView { self.state.withLockedValue { $0.view } }

    /// Whether new circuits are taken; not any more once the OR shuts down.
    var isAccepting: Bool { self.state.withLockedValue { $0.isAccepting } }

    var loops: [RouterLoop.Reference] { self.state.withLockedValue { Array($0.loops.values) } }

    /// Make the part of each event loop.
    func start() async throws {
        for eventLoop in self.group.makeIterator() {
            try await eventLoop.submit { self.start(on: eventLoop) }.get()
        }
    }

    /// Make the part of `eventLoop`, which must be the current one and of the group.
    func start(on eventLoop: any EventLoop) {
        let reference = RouterLoop(eventLoop: eventLoop, shared: self).reference
        self.state.withLockedValue { $0.loops[ObjectIdentifier(eventLoop)] = reference }
    }

    /// The part that lives on `eventLoop`, which must be one of the group's.
    func loop(_ eventLoop: any EventLoop) -> RouterLoop.Reference? {
        self.state.withLockedValue { $0.loops[ObjectIdentifier(eventLoop)] }
    }

    func stopAccepting() { self.state.withLockedValue { $0.isAccepting = false } }

    /// Give every loop a newer view, and those who wait for one.
    func publish(_ view: NetworkView) {
        let (loops, waiting) = self.state.withLockedValue { state in
            state.view = view
            defer { state.waiting = [] }
            return (Array(state.loops.values), state.waiting)
        }
        self.admission.update(view)
        self.handshakes.update(view.handshakeLimits)
        self.connector.resolver.update(pendingLimit: view.parameters[.resolvesTotal])
        for loop in loops { loop.run { $0.update(view) } }
        for promise in waiting { promise.succeed(view) }
    }

    /// Return a view newer than the present one if it comes soon, else the present one.
    ///
    /// A request for a newer consensus is always under way at the directory, which answers as soon as there is one;
    /// so all there is to do is to wait for it. Not more often than the network allows: an Extend to nowhere is cheap.
    ///
    /// - Source: DESIGN §6.1
    func refreshView(on eventLoop: any EventLoop) -> EventLoopFuture<NetworkView> {
        let promise = eventLoop.makePromise(of: NetworkView.self)
        let now = eventLoop.now
        let isWaiting = self.state.withLockedValue { state in
            let interval = TimeAmount.seconds(Int64(state.view.parameters[.extendRefreshInterval]))
            let isSoon = state.lastRefresh.map { now < $0 + interval } ?? false
            // While a wait is under way everybody joins it.
            guard !isSoon || !state.waiting.isEmpty else { return false }
            if !isSoon { state.lastRefresh = now }
            state.waiting.append(promise)
            return true
        }
        guard isWaiting else {
            promise.succeed(self.view)
            return promise.futureResult
        }
        let timer = eventLoop.scheduleTask(in: Self.refreshPatience) {
            let waiting = self.state.withLockedValue { state in
                defer { state.waiting = [] }
                return state.waiting
            }
            let view = self.view
            for promise in waiting { promise.succeed(view) }
        }
        promise.futureResult.whenComplete { _ in timer.cancel() }
        return promise.futureResult
    }

    /// Return an open link to `router`, dialling it if there is none.
    func link(to router: ConsensusRouter, on eventLoop: any EventLoop) -> EventLoopFuture<LinkHandle> {
        self.registry.link(to: router.identity, on: eventLoop) {
            // On the loop of the link that asks: the circuit's cells then cross no loop. Links that come in are spread
            // over all loops, and so are those that they lead to.
            let promise = eventLoop.makePromise(of: LinkHandle.self)
            guard let loop = self.loop(eventLoop) else {
                promise.fail(LinkError.closed)
                return promise.futureResult
            }
            // By the queue, for the registry's lock is held here.
            eventLoop.execute { loop.run { $0.dial(router, promise) } }
            return promise.futureResult
        }
    }
}
