public import OnionCells

/// The life of one stream, at either end: which messages are due, which come too late, which break the protocol.
///
///                      local finish                        remote finish
///     opening ─connected─▶ open ───────────▶ halfClosedLocal ───────────▶ closed
///        │                  │  remote finish                 local finish    ▲
///        │                  └──────────────▶ halfClosedRemote ───────────────┤
///        └── any End but Finished, from either side, in any state ───────────┘
///
/// "Opening" is from Begin to Connected. At the client the application may already send (optimistic data) and finish;
/// at the exit these are kept until the connection stands. The state after `closed` is not the stream's: the circuit
/// remembers ended streams in a ``StreamRegister``, since cells may be in flight towards the side that ended first.
///
/// What impossible events are:
/// - our bug (asserted, and without effect in a release): `connectionEstablished` at a client or twice, anything local
///   after our End;
/// - the peer's fault (throws, and the circuit ends): Data or Connected after the peer's own End, Finished twice,
///   Connected twice or towards an exit, an exit's Data or Finished before Connected;
/// - an allowed race (dropped): messages that were in flight when our own End left.
///
/// - Source: DESIGN §6.3
public struct StreamLifecycle: Sendable, Equatable {
    /// Which end of the stream this is.
    public enum Role: Sendable { case client, exit }

    /// Whether a side has yet to send its End.
    private enum Direction: Sendable, Equatable { case open, finished }

    private enum State: Sendable, Equatable {
        /// Between Begin and Connected. The exit is still to be told, or to tell.
        case opening(local: Direction, remote: Direction)
        case open(local: Direction, remote: Direction)
        /// Over for us. `peerEnded` if the peer has said so too, so that nothing more may come from it.
        case closed(peerEnded: Bool)
    }

    public let role: Role
    private var state: State = .opening(local: .open, remote: .open)

    /// Start with Begin: sent by the client, received at the exit.
    public init(role: Role) { self.role = role }

    // Facts

    /// Whether Connected has yet to come or to be sent.
    public var isOpening: Bool {
        switch self.state {
        case .opening: true
        case .open, .closed: false
        }
    }

    /// Whether nothing more is to be sent or awaited.
    public var isClosed: Bool {
        switch self.state {
        case .closed: true
        case .opening, .open: false
        }
    }

    /// Whether the peer may send no more on this stream; what the ``StreamRegister`` wants to know.
    public var hasPeerEnded: Bool {
        switch self.state {
        case .opening(_, let remote), .open(_, let remote): remote == .finished
        case .closed(let peerEnded): peerEnded
        }
    }

    /// Whether Data may be sent, windows and XOff aside. A client may before Connected; an exit may not.
    public var canSendData: Bool {
        switch self.state {
        case .opening(let local, _): local == .open && self.role == .client
        case .open(let local, _): local == .open
        case .closed: false
        }
    }

    /// Whether exactly one side has finished, so that the idle time-out applies.
    public var isHalfClosed: Bool {
        switch self.state {
        case .open(let local, let remote): local != remote
        case .opening, .closed: false
        }
    }

    // What the peer says

    public enum OnConnected: Sendable, Equatable {
        /// The stream stands: reply success to the application.
        case open
        /// We ended the stream while it was in flight.
        case drop
    }

    /// Connected came (client only).
    public mutating func connectedReceived() throws(CircuitError) -> OnConnected {
        guard self.role == .client else { throw .messageNotAllowed(.connected) }
        switch self.state {
        case .opening(let local, let remote):
            self.state = .open(local: local, remote: remote)
            return .open
        case .open: throw .messageNotAllowed(.connected)
        case .closed(peerEnded: true): throw .messageAfterEnd(.connected)
        case .closed(peerEnded: false): return .drop
        }
    }

    public enum OnData: Sendable, Equatable {
        /// Give the bytes to the socket.
        case deliver
        /// Keep the bytes until the connection stands, within a bound (exit only).
        case hold
        /// The bytes were in flight when we ended the stream.
        case drop
    }

    /// Data came. It counts in the circuit's window whatever is done with it.
    public mutating func dataReceived() throws(CircuitError) -> OnData {
        switch self.state {
        case .opening(_, let remote):
            guard remote == .open else { throw .messageAfterEnd(.data) }
            guard self.role == .exit else { throw .messageBeforeConnected(.data) }
            return .hold
        case .open(_, let remote):
            guard remote == .open else { throw .messageAfterEnd(.data) }
            return .deliver
        case .closed(peerEnded: true): throw .messageAfterEnd(.data)
        case .closed(peerEnded: false): return .drop
        }
    }

    public enum OnEnd: Sendable, Equatable {
        /// Close the socket's output once what is buffered has been written; the other direction goes on.
        case finishOutput
        /// Both directions are complete: close the socket once what is buffered has been written.
        case finishOutputAndClose
        /// Remember that no more data comes; close the output when the connection stands (exit only).
        case holdFinish
        /// The stream is over: reset the socket, or refuse the application's request with this reason.
        case close(EndReason)
        /// We had ended the stream already.
        case drop
    }

    /// End came.
    ///
    /// One that has finished may still give up on what it receives, so another reason may follow Finished.
    ///
    /// - Throws: ``CircuitError/messageAfterEnd(_:)`` for a second Finished;
    ///   ``CircuitError/messageBeforeConnected(_:)`` for an exit's Finished before Connected.
    public mutating func endReceived(_ reason: EndReason) throws(CircuitError) -> OnEnd {
        switch self.state {
        case .opening(let local, let remote):
            guard reason == .finished else {
                self.state = .closed(peerEnded: true)
                return .close(reason)
            }
            guard remote == .open else { throw .messageAfterEnd(.end) }
            guard self.role == .exit else { throw .messageBeforeConnected(.end) }
            self.state = .opening(local: local, remote: .finished)
            return .holdFinish
        case .open(let local, let remote):
            guard reason == .finished else {
                self.state = .closed(peerEnded: true)
                return .close(reason)
            }
            guard remote == .open else { throw .messageAfterEnd(.end) }
            switch local {
            case .open:
                self.state = .open(local: .open, remote: .finished)
                return .finishOutput
            case .finished:
                self.state = .closed(peerEnded: true)
                return .finishOutputAndClose
            }
        case .closed(let peerEnded):
            // Allowed race: it was in flight when our End left; after a Finished even a second one may have been.
            guard reason != .finished || !peerEnded else { throw .messageAfterEnd(.end) }
            self.state = .closed(peerEnded: true)
            return .drop
        }
    }

    // What happens on our side

    public enum OnEstablished: Sendable, Equatable {
        /// Send Connected, then write what was held.
        case sendConnected
        /// Send Connected, write what was held, then close the socket's output.
        case sendConnectedThenFinishOutput
        /// The stream was ended meanwhile: close the connection.
        case closeConnection
    }

    /// The exit's connection to the destination stands.
    public mutating func connectionEstablished() -> OnEstablished {
        switch self.state {
        case .opening(let local, let remote):
            assert(self.role == .exit, "only an exit connects")
            self.state = .open(local: local, remote: remote)
            return remote == .open ? .sendConnected : .sendConnectedThenFinishOutput
        case .open:
            assertionFailure("connected twice")
            return .closeConnection
        case .closed: return .closeConnection
        }
    }

    public enum OnLocalEnd: Sendable, Equatable {
        /// Send this End after the data that was accepted before; the other direction goes on.
        case sendEnd(EndReason)
        /// Send this End; the stream is over.
        case sendEndAndClose(EndReason)
        /// There is nobody to tell.
        case none
    }

    /// The local socket has no more to send (its input is closed).
    public mutating func localFinished() -> OnLocalEnd {
        switch self.state {
        case .opening(local: .open, let remote):
            assert(self.role == .client, "an exit has no socket before it is connected")
            self.state = .opening(local: .finished, remote: remote)
            return .sendEnd(.finished)
        case .open(local: .open, remote: .open):
            self.state = .open(local: .finished, remote: .open)
            return .sendEnd(.finished)
        case .open(local: .open, remote: .finished):
            self.state = .closed(peerEnded: true)
            return .sendEndAndClose(.finished)
        case .opening(local: .finished, _), .open(local: .finished, _):
            assertionFailure("finished twice")
            return .none
        case .closed: return .none
        }
    }

    /// The stream ends here at once: the socket was reset, the connection failed, or a limit or time-out was reached.
    ///
    /// - Parameter reason: anything but `finished`, which has ``localFinished()``.
    public mutating func localEnded(_ reason: EndReason) -> OnLocalEnd {
        assert(reason != .finished, "Finished ends one direction only")
        switch self.state {
        case .opening(_, let remote), .open(_, let remote):
            self.state = .closed(peerEnded: remote == .finished)
            return .sendEndAndClose(reason)
        case .closed: return .none
        }
    }
}
