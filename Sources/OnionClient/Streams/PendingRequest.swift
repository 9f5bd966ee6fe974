import NIOCore
import OnionCells
import OnionCrypto
import OnionStreams

/// What a request hears of its stream. All calls come on the client's event loop.
protocol PendingRequestOwner: AnyObject {
    func request(_ request: PendingRequest, got answer: PendingRequest.Answer)
}

/// A stream or look-up that somebody waits for: what is wanted, and the stream that is being tried.
///
/// Lives on the client's event loop.
final class PendingRequest {
    enum Goal {
        case stream(Begin.Target, earlyData: ByteBuffer, EventLoopPromise<OpenedStream>)
        case lookUp(Resolve, EventLoopPromise<Resolved>)
    }

    enum Answer {
        case connected(Connected, OnionStream)
        case resolved(Resolved)
        case refused(EndReason)
        case timedOut
    }

    /// The circuit that is being tried.
    struct Attempt {
        let circuit: CircuitPool.CircuitKey
        let exit: Ed25519PublicKey
        let stream: OnionStream
        let timer: Scheduled<Void>
    }

    let goal: Goal
    let wish: CircuitWish
    let isolation: IsolationKey
    private(set) var deadline: NIODeadline
    var retry: StreamRetry
    /// Exits that have refused.
    var excluded: Set<Ed25519PublicKey> = []
    /// Exits that have refused others lately: left out, too, if that can be.
    var avoided: Set<Ed25519PublicKey> = []
    private(set) var attempt: Attempt?
    /// Its name in the pool while it waits for a circuit, and after.
    var waitingKey: CircuitPool.RequestKey?
    /// The circuit of the last attempt, and when that began.
    private(set) var lastCircuit: CircuitPool.CircuitKey?
    private(set) var begunAt: NIODeadline?
    private weak var owner: (any PendingRequestOwner)?

    init(
        _ goal: Goal, wish: CircuitWish, isolation: IsolationKey, deadline: NIODeadline, limits: OnionClient.Limits,
        owner: any PendingRequestOwner
    ) {
        self.goal = goal
        self.wish = wish
        self.isolation = isolation
        self.deadline = deadline
        self.owner = owner
        switch goal {
        case .stream(_, let earlyData, _):
            self.retry = StreamRetry(
                limit: limits.retryCount, otherExitLimit: limits.otherExitCount, earlyData: earlyData.readableBytesView)
        case .lookUp:
            self.retry = StreamRetry(limit: limits.retryCount, otherExitLimit: limits.otherExitCount, earlyData: [])
        }
    }

    /// Where the stream is to go; nil for what has no one destination.
    var place: RefusalMemory.Place? {
        guard case .stream(.host(let host, let port), _, _) = self.goal else { return nil }
        return RefusalMemory.Place(host: host, port: port, isolation: self.isolation)
    }

    /// Be content with less time: the application is waiting for bad news.
    func hurry(until deadline: NIODeadline) { self.deadline = min(self.deadline, deadline) }

    /// Ask the circuit's last hop.
    ///
    /// - Returns: whether the circuit has an id left.
    func begin(on circuit: ClientCircuit, exit: Ed25519PublicKey, timeLimit: TimeAmount, eventLoop: any EventLoop)
        -> Bool
    {
        var data = ByteBuffer()
        let command: RelayCommand
        switch self.goal {
        case .stream(let target, _, _):
            command = .begin
            Begin(target: target).write(to: &data)
        case .lookUp(let query, _):
            command = .resolve
            query.write(to: &data)
        }
        guard let stream = circuit.open(command, data: data) else { return false }
        stream.opener = self
        self.lastCircuit = circuit.key
        self.begunAt = eventLoop.now
        if case .stream(_, let earlyData, _) = self.goal, earlyData.readableBytes > 0 { stream.send(earlyData) }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let timer = eventLoop.scheduleTask(deadline: min(eventLoop.now + timeLimit, self.deadline)) {
            bound.value.timerFired()
        }
        self.attempt = Attempt(circuit: circuit.key, exit: exit, stream: stream, timer: timer)
        return true
    }

    /// Forget what is being tried: it has answered, or its circuit is gone.
    func endAttempt() {
        self.attempt?.timer.cancel()
        self.attempt?.stream.opener = nil
        self.attempt = nil
    }

    /// Take back what is being tried: nobody waits for it.
    func abandonAttempt() {
        let stream = self.attempt?.stream
        self.endAttempt()
        stream?.end(.reset)
    }

    func fail(_ failure: StreamFailure) {
        switch self.goal {
        case .stream(_, _, let promise): promise.fail(failure)
        case .lookUp(_, let promise): promise.fail(failure)
        }
    }

    private func timerFired() {
        guard let stream = self.attempt?.stream else { return }
        stream.end(.timedOut)
        self.owner?.request(self, got: .timedOut)
    }
}

extension PendingRequest: StreamOpener {
    func streamConnected(_ connected: Connected) {
        guard let stream = self.attempt?.stream else { return }
        self.owner?.request(self, got: .connected(connected, stream))
    }

    func streamResolved(_ resolved: Resolved) { self.owner?.request(self, got: .resolved(resolved)) }

    func streamRefused(_ reason: EndReason) { self.owner?.request(self, got: .refused(reason)) }
}

@available(*, unavailable)
extension PendingRequest: Sendable {}
