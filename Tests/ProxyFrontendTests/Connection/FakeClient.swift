import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import OnionCells
import OnionClient

@testable import ProxyFrontend

/// A client whose streams the test opens, fails, and attaches by hand.
final class FakeClient: StreamOpening {
    let eventLoop: any EventLoop

    struct LookUp {
        let query: Resolve
        let isolation: IsolationKey
        let exit: ExitWish
        let promise: EventLoopPromise<Resolved>
    }
    private struct State {
        var requests: [StreamRequest] = []
        var openings: [EventLoopPromise<OpenedStream>] = []
        var lookUps: [LookUp] = []
        var discardedCount = 0
        var withdrawnCount = 0
    }
    private let state = NIOLockedValueBox(State())

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    var requests: [StreamRequest] { self.state.withLockedValue { $0.requests } }
    var openings: [EventLoopPromise<OpenedStream>] { self.state.withLockedValue { $0.openings } }
    var lookUps: [LookUp] { self.state.withLockedValue { $0.lookUps } }
    var discardedCount: Int { self.state.withLockedValue { $0.discardedCount } }
    /// Requests that nobody waits for any more.
    var withdrawnCount: Int { self.state.withLockedValue { $0.withdrawnCount } }

    private func watch(_ gone: EventLoopFuture<Void>?) {
        let state = self.state
        gone?.whenComplete { _ in state.withLockedValue { $0.withdrawnCount += 1 } }
    }

    func open(_ request: StreamRequest, until gone: EventLoopFuture<Void>?) -> EventLoopFuture<OpenedStream> {
        self.watch(gone)
        let promise = self.eventLoop.makePromise(of: OpenedStream.self)
        self.state.withLockedValue {
            $0.requests.append(request)
            $0.openings.append(promise)
        }
        return promise.futureResult
    }

    func resolve(
        _ query: Resolve, isolation: IsolationKey, exit: ExitWish, until gone: EventLoopFuture<Void>?
    ) -> EventLoopFuture<Resolved> {
        self.watch(gone)
        let promise = self.eventLoop.makePromise(of: Resolved.self)
        self.state.withLockedValue {
            $0.lookUps.append(LookUp(query: query, isolation: isolation, exit: exit, promise: promise))
        }
        return promise.futureResult
    }

    /// Return a stream whose `attach` does what the test wants.
    func stream(attach: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>) -> OpenedStream {
        OpenedStream(
            connected: Connected(address: .v4(1), ttlSeconds: 60), attach: attach,
            discard: { self.state.withLockedValue { $0.discardedCount += 1 } })
    }

    /// Fail what is still open, so that no promise leaks.
    func finish() {
        for promise in self.openings { promise.fail(StreamFailure.shuttingDown) }
        for lookUp in self.lookUps { lookUp.promise.fail(StreamFailure.shuttingDown) }
    }
}

/// Stands for a stream's edge handler: keeps what it is given, and asks to read like one.
final class RecordingEdge: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private(set) var received: [UInt8] = []
    private(set) var readCount = 0
    private(set) var sawInputClosed = false

    func handlerAdded(context: ChannelHandlerContext) { context.read() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.received += Self.unwrapInboundIn(data).readableBytesView
        self.readCount += 1
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { self.sawInputClosed = true }
    }
}

/// Makes an embedded channel behave like a socket with half-closure: it takes note of a closed output instead of closing,
/// and counts reads.
final class SocketManners: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    private(set) var isOutputClosed = false
    private(set) var readCount = 0

    func read(context: ChannelHandlerContext) { self.readCount += 1 }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        switch mode {
        case .output:
            self.isOutputClosed = true
            promise?.succeed()
        case .input, .all: context.close(mode: mode, promise: promise)
        }
    }
}
