import CoreMetrics
import NIOCore
import NIOPosix
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams

/// The exit's end of one circuit: answers Begin and Resolve, within limits, and encrypts what goes back.
///
/// Bound to the loop of the circuit's link.
///
/// - Source: DESIGN §6.3
final class ExitCircuit {
    let circuit: RelayCircuit
    private unowned let loop: RouterLoop
    private let backward: HopCipher
    private var begins: TokenBucket
    /// The OR's, but with this circuit's share of look-ups.
    private let connector: ExitConnector
    /// For sockets too that outlive the loop's part.
    private let admission: RouterAdmission
    /// Connections being opened, those whose streams have ended meanwhile included.
    private var connecting = 0
    /// Connections in all, those that are being opened included, and how many of them are to the directory server.
    private var socketCount = 0
    private var directoryStreamCount = 0
    private var endpoint: CircuitEndpoint?

    /// Streams to the directory server at once: a client has one, and the one before may not be quite gone.
    static let directoryStreamLimit = 2
    /// How long such a stream may last: in less a client has its ticket and its consensus.
    static let directoryStreamLifetime = TimeAmount.minutes(2)

    init(circuit: RelayCircuit, backward: HopCipher, loop: RouterLoop) {
        self.circuit = circuit
        self.loop = loop
        self.backward = backward
        var connector = loop.shared.connector
        connector.resolver = CircuitLookups(on: loop)
        self.connector = connector
        self.admission = loop.shared.admission
        let parameters = loop.view.parameters
        self.begins = TokenBucket(
            ratePerSecond: parameters[.beginsPerSecond], burst: parameters[.beginBurst], now: loop.eventLoop.now)
        self.endpoint = CircuitEndpoint(
            role: .exit, eventLoop: loop.eventLoop, congestion: loop.view.congestion, limits: loop.view.streamLimits,
            padding: loop.padding, owner: self)
    }

    func cellReceived(payload: RawSpan, tag: CellTag) { self.endpoint?.cellReceived(payload: payload, tag: tag) }
    func roomAvailable() { self.endpoint?.roomAvailable() }
    func tick(now: NIODeadline) { self.endpoint?.tick(now: now) }

    /// The circuit is gone.
    func destroyed() {
        self.endpoint?.destroy(.unspecified)
        self.loop.bytesChanged(self)
    }

    /// Let go of all bytes that streams hold here, also for sockets that have still to take the last ones.
    func abandon() { self.endpoint?.abandon() }

    /// What the streams have gained and lost since this was last asked.
    func takeTraffic() -> (added: Int, removed: Int) { self.endpoint?.takeTraffic() ?? (0, 0) }

    /// Whether nothing has been asked of this hop as the last one: it may still be made an inner one.
    var isUnused: Bool { self.endpoint?.openedStreamCount == 0 }

    private func begin(_ stream: OnionStream, _ begin: Begin) {
        if let refusal = self.refusal(of: begin) { return stream.end(refusal) }
        let metrics = self.loop.shared.metrics
        let isDirectory = begin.target == .directory
        if isDirectory, self.directoryStreamCount == Self.directoryStreamLimit {
            metrics.reached(.directoryStreams)
            return stream.end(.resourceLimit)
        }
        guard
            let receiveBufferByteCount = self.admission.takesStream(
                streamCount: self.socketCount + 1, toDirectoryAt: isDirectory ? self.loop.eventLoop.now : nil,
                isOneHop: !self.circuit.previousHop.isListed)
        else {
            return stream.end(.resourceLimit)
        }
        self.connecting += 1
        self.socketCount += 1
        if isDirectory { self.directoryStreamCount += 1 }
        let bound = NIOLoopBound((self, stream), eventLoop: self.loop.eventLoop)
        self.connector
            .connect(
                to: begin.target, receiveBufferByteCount: receiveBufferByteCount, in: self.loop.view,
                on: self.loop.eventLoop
            )
            .whenComplete { result in
                let (exit, stream) = bound.value
                exit.connecting -= 1
                switch result {
                case .failure(let error):
                    exit.socketClosed(receiveBufferByteCount, toDirectory: isDirectory)
                    metrics.refusedStreams.increment()
                    stream.end(ExitConnector.reason(of: error))
                case .success(let connection):
                    exit.watch(connection.channel, receiveBufferByteCount, toDirectory: isDirectory)
                    guard stream.connected(connection.connected) else {
                        stream.end(.unspecified)
                        // The destination is not to take it for an empty request.
                        return StreamEdge.reset(connection.channel)
                    }
                    metrics.openedStreams.increment()
                    do {
                        try connection.channel.pipeline.syncOperations.addHandler(StreamEdge(stream: stream))
                    } catch {
                        // The connection was lost in the same moment.
                        stream.end(.reset)
                        connection.channel.close(promise: nil)
                    }
                }
            }
    }

    /// Count the socket out when it closes.
    private func watch(_ channel: any Channel, _ receiveBufferByteCount: Int, toDirectory isDirectory: Bool) {
        let bound = NIOLoopBound(self, eventLoop: self.loop.eventLoop)
        let end =
            isDirectory
            ? self.loop.eventLoop.scheduleTask(in: Self.directoryStreamLifetime) { channel.close(promise: nil) } : nil
        channel.closeFuture.whenComplete { _ in
            end?.cancel()
            bound.value.socketClosed(receiveBufferByteCount, toDirectory: isDirectory)
        }
    }

    private func socketClosed(_ receiveBufferByteCount: Int, toDirectory isDirectory: Bool) {
        self.socketCount -= 1
        if isDirectory { self.directoryStreamCount -= 1 }
        self.admission.streamEnded(receiveBufferByteCount, toDirectory: isDirectory)
    }

    private func refusal(of begin: Begin) -> EndReason? {
        let parameters = self.loop.view.parameters
        if case .host = begin.target {
            // Nobody uses an exit as a one-hop proxy.
            guard self.circuit.previousHop.isListed || parameters.allows(.allowOneHopBegin) else {
                return .notAllowed
            }
        }
        return self.admits(parameters) ? nil : .resourceLimit
    }

    /// Whether the circuit may have one more stream; the newest is counted already.
    private func admits(_ parameters: NetworkParameters) -> Bool {
        let limit = parameters[.streamsPerCircuit]
        guard (self.endpoint?.streamCount ?? 0) <= limit, self.connecting < limit else {
            return self.refused(by: .streamsPerCircuit)
        }
        return self.begins.take(now: self.loop.eventLoop.now) || self.refused(by: .beginsPerCircuit)
    }

    private func refused(by limit: RouterLimit) -> Bool {
        self.loop.shared.metrics.reached(limit)
        return false
    }

    private func resolve(_ stream: OnionStream, _ query: Resolve) {
        let parameters = self.loop.view.parameters
        guard self.circuit.previousHop.isListed || parameters.allows(.allowOneHopBegin) else {
            return stream.resolved(.failed(.notAllowed))
        }
        guard self.admits(parameters) else { return stream.resolved(.failed(.resourceLimit)) }
        let bound = NIOLoopBound(stream, eventLoop: self.loop.eventLoop)
        self.connector.resolve(query, in: self.loop.view, on: self.loop.eventLoop).whenComplete { result in
            let stream = bound.value
            switch result {
            case .success(let resolved): stream.resolved(resolved)
            case .failure(let error): stream.resolved(.failed(ExitConnector.reason(of: error)))
            }
        }
    }
}

extension ExitCircuit: CircuitEndpointOwner {
    /// Cells of one circuit that may wait for its link; beyond, its streams wait.
    private static let backlogLimit = 32

    func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool {
        self.circuit.link.backlog(of: self.circuit.id) < Self.backlogLimit
    }

    func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag {
        var tag = CellTag(high: 0, low: 0)
        self.circuit.link.send(circuit: self.circuit.id) { cell in
            CellHeader(circuitID: self.circuit.id, command: .relay).write(to: &cell)
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            var payload = body._mutatingExtracting(Cell.tagByteCount..<Cell.bodyByteCount)
            fill(&payload)
            tag = self.backward.originate(command: CellCommand.relay.rawValue, body: &body)
        }
        return tag
    }

    func endpoint(
        _ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer
    ) throws(CircuitError) {
        switch command {
        case .begin:
            self.begin(stream, try CircuitError.decoding(command) { () throws(CellError) in try Begin(data: data) })
        case .resolve:
            self.resolve(stream, try CircuitError.decoding(command) { () throws(CellError) in try Resolve(data: data) })
        case .connected, .data, .end, .sendMe, .xOff, .xOn, .extend, .extended, .truncated, .resolved, .drop:
            throw .messageNotAllowed(command)
        }
    }

    func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason) {
        // Only a client hears Truncated; RelayRules has refused it before.
    }

    func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError) {
        if error == .resourceLimit {
            self.loop.shared.metrics.reached(.streamsPerCircuit)
        } else {
            self.loop.shared.metrics.violations.increment()
        }
        self.loop.fail(self.circuit, reason: error.destroyReason)
    }

    func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream) {}

    func endpointBytesChanged(_ endpoint: CircuitEndpoint) { self.loop.bytesChanged(self) }
}

@available(*, unavailable)
extension ExitCircuit: Sendable {}
