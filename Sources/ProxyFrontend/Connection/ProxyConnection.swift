internal import NIOCore
internal import OnionCells
internal import OnionClient

/// One application's connection, from the accept until a stream has taken it over or it is closed.
///
///     handshaking ──request──▶ waiting ──connected──▶ attaching ──attached──▶ handedOver
///          │                      │                       │
///          ├──────refused─────────┴──▶ lingering ──▶ closed ◀── whatever ends the channel
///          └──nonsense, time-out, half-close, gone──────▲
///
/// The rules it keeps: success is never said before the exit has connected; nothing is read while a request waits, and what
/// arrives anyway is kept in order for the stream; an application that closes its side before it has sent anything for the
/// stream has gone, one that has sent something may still want the answer; a refusal is followed by reading to the
/// application's end (*lingering*), because closing a socket with unread bytes would reset it and lose the reply.
///
/// - Source: DESIGN §10
struct ProxyConnection: Sendable {
    enum Action: Equatable, Sendable {
        case none
        /// Ask the channel for more bytes.
        case read
        /// Send this, then call ``advance()``.
        case send(ByteBuffer)
        /// Open a stream; its outcome comes back as ``streamOpened()`` or ``requestFailed(_:)``.
        case open(host: String, port: UInt16, ProxyRequest, earlyData: ByteBuffer)
        /// Look up; the outcome comes back as ``lookUpCompleted(_:)`` or ``requestFailed(_:)``.
        case lookUp(Resolve, ProxyRequest)
        /// Send this, close the output, and read on until the application closes too.
        case sendAndLinger(ByteBuffer)
        /// Send the reply, then attach the stream; the outcome comes back as ``attached()``, or the channel closes.
        case attach(reply: ByteBuffer)
        /// The stream came too late: nobody is there to use it.
        case discard
        /// Fire these bytes, and a half-close if there was one, to the stream, and leave the pipeline; put what rewrites a
        /// request in between, if it is to be forwarded.
        case handOver(later: ByteBuffer, inputClosed: Bool, forwarding: Bool)
        case close
    }

    private enum State {
        case handshaking(ProxyHandshake, received: ByteBuffer)
        case waiting(ProxyRequest, Later)
        case attaching(ProxyProtocol, Later)
        case lingering(droppedByteCount: Int)
        case handedOver
        case closed
    }

    /// What the application did while nobody could take it.
    private struct Later {
        var bytes = ByteBuffer()
        var inputClosed = false
        /// Something came for the destination: with the request, or after it.
        var isAnswerWanted = false
    }

    private let limits: ProxyLimits
    private var state: State

    init(access: ProxyAccess, limits: ProxyLimits) {
        self.limits = limits
        self.state = .handshaking(ProxyHandshake(access: access), received: ByteBuffer())
    }

    /// Bytes came from the application.
    mutating func bytesReceived(_ bytes: ByteBuffer) -> Action {
        switch self.state {
        case .handshaking(let handshake, var received):
            received.writeImmutableBuffer(bytes)
            self.state = .handshaking(handshake, received: received)
            return self.advance()
        case .waiting(let request, var later):
            guard self.keep(bytes, in: &later) else { return self.close() }
            self.state = .waiting(request, later)
            return .none
        case .attaching(let proxyProtocol, var later):
            guard self.keep(bytes, in: &later) else { return self.close() }
            self.state = .attaching(proxyProtocol, later)
            return .none
        case .lingering(let dropped):
            guard bytes.readableBytes <= self.limits.lingerByteCount - dropped else { return self.close() }
            self.state = .lingering(droppedByteCount: dropped + bytes.readableBytes)
            return .none
        // Allowed race: the channel is on its way out of our hands.
        case .handedOver, .closed: return .none
        }
    }

    /// Go on with the handshake, after a ``Action/send(_:)`` was done.
    mutating func advance() -> Action {
        switch self.state {
        case .handshaking(var handshake, var received):
            let action = handshake.next(from: &received)
            received.discardReadBytes()
            switch action {
            case .wait:
                self.state = .handshaking(handshake, received: received)
                return .none
            case .send(let bytes):
                self.state = .handshaking(handshake, received: received)
                return .send(bytes)
            case .request(let request):
                // What is to be forwarded is no early data: it is rewritten on its way to the stream.
                let isForwarded = request.proxyProtocol == .forward
                var later = Later()
                if isForwarded {
                    later.bytes.writeBytes(request.forwardedHead)
                    later.bytes.writeImmutableBuffer(received)
                    received = ByteBuffer()
                }
                switch request.target {
                case .connect(let host, let port):
                    later.isAnswerWanted = isForwarded || received.readableBytes > 0
                    self.state = .waiting(request, later)
                    return .open(host: host, port: port, request, earlyData: received)
                case .lookUp(let query):
                    // The answer is all there is to it.
                    later.isAnswerWanted = true
                    self.state = .waiting(request, later)
                    return .lookUp(query, request)
                }
            case .finish(let bytes): return self.linger(bytes)
            case .close: return self.close()
            }
        case .waiting, .attaching, .lingering, .handedOver, .closed: return .none
        }
    }

    /// All bytes of one read have been given to ``bytesReceived(_:)``.
    func readCompleted() -> Action {
        switch self.state {
        case .handshaking, .lingering: .read
        case .waiting, .attaching, .handedOver, .closed: .none
        }
    }

    /// The application will send no more.
    mutating func inputClosed() -> Action {
        switch self.state {
        // A request that is not complete never will be.
        case .handshaking, .lingering: return self.close()
        // The end of a program that closes, or dies, looks the same as a half-close.
        case .waiting(_, let later) where !later.isAnswerWanted: return self.close()
        case .waiting(let request, var later):
            later.inputClosed = true
            self.state = .waiting(request, later)
            return .none
        case .attaching(let proxyProtocol, var later):
            later.inputClosed = true
            self.state = .attaching(proxyProtocol, later)
            return .none
        case .handedOver, .closed: return .none
        }
    }

    /// The request took too long to become complete.
    mutating func handshakeTimerFired() -> Action {
        switch self.state {
        case .handshaking: return self.close()
        // Allowed race: it did become complete.
        case .waiting, .attaching, .lingering, .handedOver, .closed: return .none
        }
    }

    /// The application did not close after a refusal.
    mutating func lingerTimerFired() -> Action {
        switch self.state {
        case .lingering: return self.close()
        case .handshaking, .waiting, .attaching, .handedOver, .closed: return .none
        }
    }

    /// The exit has connected.
    mutating func streamOpened() -> Action {
        switch self.state {
        case .waiting(let request, let later):
            self.state = .attaching(request.proxyProtocol, later)
            return .attach(reply: ProxyReply.connected(request.proxyProtocol))
        // Allowed race: the application went away while the stream was opened.
        case .closed: return .discard
        case .handshaking, .attaching, .lingering, .handedOver:
            assertionFailure("a stream that was not asked for")
            return .discard
        }
    }

    /// There will be no stream, or no answer.
    mutating func requestFailed(_ failure: StreamFailure) -> Action {
        switch self.state {
        case .waiting(let request, _): return self.linger(ProxyReply.failed(request.proxyProtocol, failure))
        case .handshaking, .attaching, .lingering, .handedOver, .closed: return .none
        }
    }

    /// The exit has answered a look-up.
    mutating func lookUpCompleted(_ resolved: Resolved) -> Action {
        switch self.state {
        case .waiting(let request, _):
            switch request.target {
            case .lookUp(let query):
                return self.linger(ProxyReply.resolved(request.proxyProtocol, query, resolved))
            case .connect:
                assertionFailure("an answer that was not asked for")
                return self.close()
            }
        case .handshaking, .attaching, .lingering, .handedOver, .closed: return .none
        }
    }

    /// The stream's own handler is in the pipeline.
    mutating func attached() -> Action {
        switch self.state {
        case .attaching(let proxyProtocol, let later):
            self.state = .handedOver
            return .handOver(
                later: later.bytes, inputClosed: later.inputClosed, forwarding: proxyProtocol == .forward)
        // The stream has heard of the closed channel by itself.
        case .handshaking, .waiting, .lingering, .handedOver, .closed: return .none
        }
    }

    /// The channel is closed, whoever did it.
    mutating func channelClosed() { self.state = .closed }

    private func keep(_ bytes: ByteBuffer, in later: inout Later) -> Bool {
        guard bytes.readableBytes <= self.limits.laterByteCount - later.bytes.readableBytes else { return false }
        later.bytes.writeImmutableBuffer(bytes)
        later.isAnswerWanted = true
        return true
    }

    private mutating func linger(_ reply: ByteBuffer) -> Action {
        self.state = .lingering(droppedByteCount: 0)
        return .sendAndLinger(reply)
    }

    private mutating func close() -> Action {
        self.state = .closed
        return .close
    }
}
