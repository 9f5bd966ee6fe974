import NIOCore
import OnionCells
import OnionCircuits

/// What one end of a stream says to the other; `acknowledge` stands for the circuit's window.
enum StreamMessage: Equatable {
    case connected
    case data(Int)
    case end(EndReason)
    case xOff
    case xOn(UInt32)
    case acknowledge(Int)
}

/// One end of a stream as a circuit's endpoint keeps it: the machines, and counts in place of bytes.
struct StreamEnd {
    static let limits = StreamGate.Limits(high: 1000, low: 500, inFlight: 4000, whileOpening: 600)

    var life: StreamLifecycle
    var gate: StreamGate
    private var xOff = XOffState()
    /// Bytes sent and not acknowledged: at most a window's.
    private(set) var unacknowledged = 0
    private(set) var sentByteCount = 0
    private(set) var receivedByteCount = 0
    /// Bytes that came while XOff had to wait for its distance from the last: the link alone bounds them.
    private(set) var unboundedByteCount = 0
    /// Whether this end or the other gave up: bytes may be lost then.
    private(set) var isBroken = false
    private(set) var isFinished = false
    private var timer: NIODeadline?
    /// Whether the gate waits to say XOff.
    private var isWaiting: Bool { self.timer != nil }

    init(role: StreamLifecycle.Role) {
        self.life = StreamLifecycle(role: role)
        self.gate = StreamGate(limits: Self.limits, isOpening: true)
    }

    /// A message came; returns what to answer at once.
    mutating func receive(_ message: StreamMessage, now: NIODeadline) throws(CircuitError) -> [StreamMessage] {
        switch message {
        case .connected:
            guard try self.life.connectedReceived() == .open else { return [] }
            return self.said(self.gate.opened(now: now))
        case .data(let byteCount):
            let answer: [StreamMessage]
            switch try self.life.dataReceived() {
            case .deliver, .hold:
                self.receivedByteCount += byteCount
                answer = self.said(try self.gate.dataReceived(byteCount: byteCount, now: now))
                if self.isWaiting { self.unboundedByteCount += byteCount }
            case .drop: answer = []
            }
            return [.acknowledge(byteCount)] + answer
        case .end(let reason):
            switch try self.life.endReceived(reason) {
            case .close:
                precondition(reason != .finished, "a Finished breaks the stream off")
                self.isBroken = true
            case .finishOutput, .finishOutputAndClose, .holdFinish, .drop: break
            }
            return []
        case .xOff:
            try self.xOff.xOffReceived(now: now)
            return []
        case .xOn(let rate):
            try self.xOff.xOnReceived(drainRate: rate, now: now)
            return []
        case .acknowledge(let byteCount):
            self.unacknowledged -= byteCount
            return []
        }
    }

    /// The application, or the destination, has bytes: as many go as the window and the peer allow.
    mutating func send(_ byteCount: Int) -> [StreamMessage] {
        guard self.life.canSendData, !self.xOff.isPaused else { return [] }
        let count = min(byteCount, Self.limits.inFlight - self.unacknowledged)
        guard count > 0 else { return [] }
        self.unacknowledged += count
        self.sentByteCount += count
        return [.data(count)]
    }

    /// The socket took bytes.
    mutating func drain(_ byteCount: Int, now: NIODeadline) -> [StreamMessage] {
        // Before Connected there is no socket.
        guard !self.gate.isOpening else { return [] }
        let count = min(byteCount, self.gate.bufferedByteCount)
        return self.said(self.gate.dataDrained(byteCount: count, now: now))
    }

    /// The socket has no more to send.
    mutating func finish() -> [StreamMessage] {
        // The endpoint tells the machine once; an exit's socket is there from Connected on.
        guard !self.isFinished, !self.life.isClosed, !(self.life.isOpening && self.life.role == .exit) else {
            return []
        }
        self.isFinished = true
        return self.ended(self.life.localFinished())
    }

    mutating func breakOff(_ reason: EndReason) -> [StreamMessage] {
        guard reason != .finished else { return [] }
        self.isBroken = true
        return self.ended(self.life.localEnded(reason))
    }

    /// The exit's connection stands.
    mutating func establish(now: NIODeadline) -> [StreamMessage] {
        guard self.life.role == .exit, self.life.isOpening else { return [] }
        switch self.life.connectionEstablished() {
        case .sendConnected, .sendConnectedThenFinishOutput:
            return [.connected] + self.said(self.gate.opened(now: now))
        case .closeConnection: return []
        }
    }

    /// One of the things that a socket does, by number.
    mutating func local(_ number: UInt8, now: NIODeadline) -> [StreamMessage] {
        switch number & 3 {
        case 0: self.establish(now: now)
        case 1: self.finish()
        case 2: self.breakOff(EndReason(rawValue: number >> 2) ?? .reset)
        default: self.send(Int(number) * 8)
        }
    }

    mutating func timePassed(now: NIODeadline) -> [StreamMessage] {
        guard let timer, now >= timer else { return [] }
        self.timer = nil
        return self.said(self.gate.timerFired(now: now))
    }

    private func ended(_ action: StreamLifecycle.OnLocalEnd) -> [StreamMessage] {
        switch action {
        case .sendEnd(let reason), .sendEndAndClose(let reason): [.end(reason)]
        case .none: []
        }
    }

    private mutating func said(_ action: StreamGate.Action) -> [StreamMessage] {
        switch action {
        case .none: return []
        case .sendXOff: return self.life.isClosed ? [] : [.xOff]
        case .sendXOn(let rate): return self.life.isClosed ? [] : [.xOn(rate)]
        case .wait(let deadline):
            precondition(self.timer == nil, "a gate waits twice")
            self.timer = deadline
            return []
        }
    }
}
