import NIOCore
import OnionAddress
import OnionCells
import OnionStreams

/// Opens one stream step by step, each by itself so that it can be timed: a circuit, the round trip to its last hop, the
/// name, the connection.
///
/// The round trip is that of a look-up of an address, which an exit answers by itself: yes or no, it asks nobody.
///
/// Lives on the client's event loop, and holds on to itself by the futures that it waits for.
final class StreamTracing {
    private let core: ClientCore
    private let request: StreamRequest
    private let promise: EventLoopPromise<TracedStream>
    private let deadline: NIODeadline
    private let startedAt: NIODeadline
    private var trace: StreamTrace
    /// The circuit whose round trip has been measured.
    private var probed: (circuit: CircuitPool.CircuitKey, roundTrip: TimeAmount)?

    /// Set aside for documentation, so nobody's: any exit answers for it without asking.
    private static let nobodysAddress = "192.0.2.1"
    /// Addresses of one name that are tried, as many as an exit tries.
    private static let addressLimit = 4

    init(_ request: StreamRequest, core: ClientCore, promise: EventLoopPromise<TracedStream>) {
        self.core = core
        self.request = request
        self.promise = promise
        self.startedAt = core.eventLoop.now
        self.deadline = self.startedAt + core.limits.requestPatience
        self.trace = StreamTrace(host: request.host, port: request.port)
    }

    func start() {
        var limits = self.core.limits
        // A refusal is an answer.
        limits.retryCount = 0
        limits.otherExitCount = 0
        self.lookUp(Self.nobodysAddress, limits) { request, result in
            self.see(request.lastCircuit)
            switch result {
            case .success:
                if let circuit = request.lastCircuit, let begunAt = request.begunAt {
                    self.probed = (circuit, self.core.eventLoop.now - begunAt)
                    self.trace.circuitWaitSeconds = (begunAt - self.startedAt).seconds
                }
                self.resolve()
            case .failure(let error): self.fail(.circuit, error)
            }
        }
    }

    private func resolve() {
        if let literal = IPAddress(self.request.host) { return self.connect(to: ["\(literal)"]) }
        self.lookUp(self.request.host, self.core.limits) { request, result in
            self.see(request.lastCircuit)
            switch result {
            case .success(.failed(let reason)): self.fail(.resolve, StreamFailure.ended(reason))
            case .success(.answers(let answers)):
                self.trace.resolveSeconds = request.begunAt.map { (self.core.eventLoop.now - $0).seconds }
                self.trace.addresses = answers.compactMap { answer in
                    guard case .address(let address) = answer.value else { return nil }
                    return "\(address)"
                }
                self.connect(to: self.trace.addresses.prefix(Self.addressLimit))
            case .failure(let error): self.fail(.resolve, error)
            }
        }
    }

    private func connect(to addresses: ArraySlice<String>) {
        guard let address = addresses.first else { return self.fail(.resolve, StreamFailure.ended(.noSuchName)) }
        let opened = self.core.eventLoop.makePromise(of: OpenedStream.self)
        let request = self.pending(
            .stream(.host(address, port: self.request.port), earlyData: ByteBuffer(), opened), self.core.limits)
        opened.futureResult.assumeIsolated().whenComplete { result in
            self.see(request.lastCircuit)
            self.trace.tryCount += request.retry.retryCount + 1
            switch result {
            case .success(let stream):
                self.trace.connectSeconds = request.begunAt.map { (self.core.eventLoop.now - $0).seconds }
                self.trace.connectedAddress = "\(stream.connected.address)"
                self.promise.succeed(TracedStream(trace: self.trace, result: .success(stream)))
            case .failure where addresses.count > 1: self.connect(to: addresses.dropFirst())
            case .failure(let error): self.fail(.connect, error)
            }
        }
        self.core.addNew(request)
    }

    // MARK: Helpers

    private func lookUp(
        _ name: String, _ limits: OnionClient.Limits,
        _ completed: @escaping (PendingRequest, Result<Resolved, any Error>) -> Void
    ) {
        let answer = self.core.eventLoop.makePromise(of: Resolved.self)
        let request = self.pending(.lookUp(.addresses(of: name), answer), limits)
        answer.futureResult.assumeIsolated().whenComplete { completed(request, $0) }
        self.core.addNew(request)
    }

    /// All steps have one wish and one isolation key, and so one circuit as long as it lives.
    private func pending(_ goal: PendingRequest.Goal, _ limits: OnionClient.Limits) -> PendingRequest {
        PendingRequest(
            goal, wish: .port(self.request.port, exit: self.request.exit), isolation: self.request.isolation,
            deadline: self.deadline, limits: limits, owner: self.core)
    }

    /// Note the circuit that a step was on, while it is there.
    private func see(_ key: CircuitPool.CircuitKey?) {
        guard let key, var circuit = self.core.describe(key) else { return }
        if let probed, probed.circuit == key, let last = circuit.hops.indices.last {
            circuit.hops[last].roundTripSeconds = probed.roundTrip.seconds
            circuit.roundTripSeconds = probed.roundTrip.seconds
        }
        self.trace.circuit = circuit
    }

    private func fail(_ step: StreamTrace.Step, _ error: any Error) {
        self.trace.failedStep = step
        let failure = error as? StreamFailure ?? .ended(.unspecified)
        self.promise.succeed(TracedStream(trace: self.trace, result: .failure(failure)))
    }
}

@available(*, unavailable)
extension StreamTracing: Sendable {}

extension TimeAmount {
    var seconds: Double { Double(self.nanoseconds) / 1e9 }
}
