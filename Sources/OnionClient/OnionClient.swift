import DirectoryClient
public import Logging
public import NIOCore
public import OnionCells
import OnionDirectory
import OnionLink
public import ServiceLifecycle

/// The origin of circuits and streams. Everything of one client lives on one event loop, ``eventLoop``.
///
/// ``run()`` gets the list of routers, chooses guards and keeps circuits ready; requests may be made at any time, and wait,
/// within their patience, for a circuit.
///
/// - Source: DESIGN §10
public final class OnionClient: Service {
    /// The loop that all of the client, its streams and the channels attached to them are on.
    public let eventLoop: any EventLoop

    private let core: NIOLoopBoundBox<ClientCore>
    private let board: ProgressBoard
    private let transport: LinkTransport
    private let directory: ClientDirectory
    private let limits: Limits
    private let exit: ExitWish

    /// Make a client; nothing happens before ``run()``.
    ///
    /// - Parameter onAlarm: called, on any thread, with what the one who runs the client should hear of.
    /// - Throws: what the TLS library says.
    public init(
        configuration: Configuration, group: any EventLoopGroup, logger: Logger,
        onAlarm: @escaping @Sendable (ClientAlarm) -> Void = { _ in }
    ) throws {
        let loop = group.next()
        let board = ProgressBoard()
        let core = ClientCore(
            eventLoop: loop, configuration: configuration, board: board, logger: logger, onAlarm: onAlarm)
        self.eventLoop = loop
        self.board = board
        self.limits = configuration.limits
        self.exit = configuration.exit
        self.core = NIOLoopBoundBox.makeBoxSendingValue(core, eventLoop: loop)
        // The consensus says others once a link is open.
        self.transport = try LinkTransport(
            credentials: nil, limits: LinkLimits(NetworkParameters()), netInfo: { _ in .anonymous })
        self.directory = ClientDirectory(
            core: self.core, eventLoop: loop, configuration: configuration, board: board, logger: logger,
            onAlarm: onAlarm, ways: try ClientDirectory.Ways(configuration, on: loop))
    }

    /// Run until a graceful shutdown or cancellation; all streams end with it.
    ///
    /// - Throws: ``OnionClientError`` when there is no list of routers and no way to get one.
    public func run() async throws {
        let (core, transport, loop, directory) = (self.core, self.transport, self.eventLoop, self.directory)
        try await loop.submit {
            core.value.start { address, linkKey, owner in
                transport.dial(address, linkKey: linkKey, on: loop, owner: owner)
            }
        }.get()
        var failure: (any Error)?
        do {
            try await withTaskCancellationOrGracefulShutdownHandler {
                try await cancelWhenGracefulShutdown { try await directory.run() }
            } onCancelOrGracefulShutdown: {
                // At once: the directory may be waiting for a circuit that does not come.
                loop.execute { core.value.shutDown() }
            }
        } catch is CancellationError {
            // The end that was asked for.
        } catch {
            failure = Task.isCancelled ? nil : error
        }
        try await loop.submit { core.value.shutDown() }.get()
        self.board.finish()
        if let failure, !Task.isShuttingDownGracefully { throw failure }
    }

    /// Open a stream; tried again on another circuit until Connected, at most three times.
    ///
    /// - Returns: a future on ``eventLoop`` that fails with a ``StreamFailure``.
    public func open(_ request: StreamRequest) -> EventLoopFuture<OpenedStream> { self.open(request, until: nil) }

    /// Open a stream for as long as somebody waits for it.
    ///
    /// - Parameter gone: on any loop; when it completes, in success or failure, the request is taken back: it waits for no
    ///   circuit any more, and has none begun for it. Without effect once the stream is open.
    /// - Returns: a future on ``eventLoop`` that fails with a ``StreamFailure``, that of a request taken back with
    ///   `ended(.finished)`.
    public func open(_ request: StreamRequest, until gone: EventLoopFuture<Void>?) -> EventLoopFuture<OpenedStream> {
        guard request.port != 0, Begin.isValidHost(request.host) else {
            return self.eventLoop.makeFailedFuture(StreamFailure.invalidRequest)
        }
        let promise = self.eventLoop.makePromise(of: OpenedStream.self)
        let (core, limits) = (self.core, self.limits)
        let exit = self.exit.narrowed(by: request.exit)
        let deadline = self.eventLoop.now + limits.requestPatience
        self.onLoop {
            let core = core.value
            core.addNew(
                PendingRequest(
                    .stream(.host(request.host, port: request.port), earlyData: request.earlyData, promise),
                    wish: .port(request.port, exit: exit), isolation: request.isolation,
                    deadline: deadline, limits: limits, owner: core),
                until: gone)
        }
        return promise.futureResult
    }

    /// Look a name or an address up at an exit.
    ///
    /// - Returns: a future on ``eventLoop`` that fails with a ``StreamFailure``. "No such name" is an answer, not a failure.
    public func resolve(
        _ query: Resolve, isolation: IsolationKey, exit: ExitWish = .any
    ) -> EventLoopFuture<Resolved> {
        self.resolve(query, isolation: isolation, exit: exit, until: nil)
    }

    /// Look a name or an address up for as long as somebody waits for it; see ``open(_:until:)``.
    public func resolve(
        _ query: Resolve, isolation: IsolationKey, exit: ExitWish, until gone: EventLoopFuture<Void>?
    ) -> EventLoopFuture<Resolved> {
        if case .addresses(let name) = query, !Begin.isValidHost(name) {
            return self.eventLoop.makeFailedFuture(StreamFailure.invalidRequest)
        }
        let promise = self.eventLoop.makePromise(of: Resolved.self)
        let (core, limits) = (self.core, self.limits)
        let wish = CircuitWish.resolver(self.exit.narrowed(by: exit))
        let deadline = self.eventLoop.now + limits.requestPatience
        self.onLoop {
            let core = core.value
            core.addNew(
                PendingRequest(
                    .lookUp(query, promise), wish: wish, isolation: isolation, deadline: deadline,
                    limits: limits, owner: core),
                until: gone)
        }
        return promise.futureResult
    }

    /// Open a stream step by step, and tell how long each took. The name is looked up by itself first, at the exit too.
    ///
    /// - Parameter request: early data is not sent.
    /// - Returns: a future on ``eventLoop``; it never fails: what came to nothing is told.
    public func trace(_ request: StreamRequest) -> EventLoopFuture<TracedStream> {
        guard request.port != 0, Begin.isValidHost(request.host) else {
            let trace = StreamTrace(host: request.host, port: request.port)
            return self.eventLoop.makeSucceededFuture(TracedStream(trace: trace, result: .failure(.invalidRequest)))
        }
        let promise = self.eventLoop.makePromise(of: TracedStream.self)
        let core = self.core
        var request = request
        request.exit = self.exit.narrowed(by: request.exit)
        let narrowed = request
        self.onLoop { StreamTracing(narrowed, core: core.value, promise: promise).start() }
        return promise.futureResult
    }

    /// Let no circuit of now carry a new stream; the streams there are go on.
    public func newIdentity() {
        let core = self.core
        self.onLoop {
            core.value.newIdentity()
        }
    }

    /// Tell what the client is doing.
    public func status() -> EventLoopFuture<ClientStatus> {
        let core = self.core
        return self.eventLoop.submit { core.value.status() }
    }

    /// How the start goes on, and after it what stands in the way of circuits, and that nothing does any more; ends with the
    /// client.
    public var progress: AsyncStream<ClientProgress> { self.board.updates() }

    /// Do something with the core on its loop.
    func withCore(_ body: @escaping @Sendable (ClientCore) -> Void) {
        let core = self.core
        self.onLoop { body(core.value) }
    }

    private func onLoop(_ body: @escaping @Sendable () -> Void) {
        if self.eventLoop.inEventLoop { body() } else { self.eventLoop.execute(body) }
    }
}
