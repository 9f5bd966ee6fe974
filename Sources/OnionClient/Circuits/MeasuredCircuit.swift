public import NIOCore
import OnionCircuits
import OnionStreams

/// A complete circuit built for its own sake, past the pool: `Benchmarks` measures how fast they are built, and what an
/// idle one costs.
///
/// - Source: DESIGN §2, `@_spi(Benchmark)`
@_spi(Benchmark) public struct MeasuredCircuit: Sendable {
    private let circuit: NIOLoopBound<ClientCircuit>

    fileprivate init(_ circuit: ClientCircuit, eventLoop: any EventLoop) {
        self.circuit = NIOLoopBound(circuit, eventLoop: eventLoop)
    }

    /// Close the circuit, on all its hops.
    public func close() {
        let circuit = self.circuit
        circuit.eventLoop.execute { circuit.value.close() }
    }
}

@_spi(Benchmark) extension OnionClient {
    /// Build a circuit along a path that is drawn as for a look-up.
    ///
    /// - Returns: a future on ``eventLoop``; fails with a ``StreamFailure`` or a `CircuitError`.
    public func buildCircuit() -> EventLoopFuture<MeasuredCircuit> {
        let promise = self.eventLoop.makePromise(of: MeasuredCircuit.self)
        self.withCore { core in
            let measurement = CircuitMeasurement(promise: promise, eventLoop: core.eventLoop)
            do {
                measurement.circuit = try core.beginCircuit(owner: measurement)
                measurement.keepsItself = measurement
            } catch {
                promise.fail(StreamFailure.notReady("\(error)"))
            }
        }
        return promise.futureResult
    }
}

/// Waits for one circuit. Lives on the client's event loop.
private final class CircuitMeasurement: ClientCircuitOwner {
    var circuit: ClientCircuit?
    /// Until the circuit is built or over: nobody else holds on to it.
    var keepsItself: CircuitMeasurement?
    private let promise: EventLoopPromise<MeasuredCircuit>
    private let eventLoop: any EventLoop

    init(promise: EventLoopPromise<MeasuredCircuit>, eventLoop: any EventLoop) {
        self.promise = promise
        self.eventLoop = eventLoop
    }

    func circuitReady(_ circuit: ClientCircuit) {
        self.promise.succeed(MeasuredCircuit(circuit, eventLoop: self.eventLoop))
        self.end()
    }

    func circuit(_ circuit: ClientCircuit, ended error: CircuitError) {
        // Without effect on a circuit that was complete.
        self.promise.fail(error)
        self.end()
    }

    func circuit(_ circuit: ClientCircuit, closed stream: OnionStream) {}

    private func end() {
        self.circuit = nil
        self.keepsItself = nil
    }
}

@available(*, unavailable)
extension CircuitMeasurement: Sendable {}
