import DequeModule
import NIOCore

/// A simulated TCP connection between two channels: two pipes, and what can go wrong with them.
final class Wire: @unchecked Sendable {
    // @unchecked: as the simulation.

    enum Kind { case link, application, destination, directory, pair }

    let kind: Kind
    let name: String
    let near: SimulatedChannel
    let far: SimulatedChannel
    let forward: Pipe
    let backward: Pipe
    /// Whether the path between the ends is gone, with nothing said.
    private(set) var isSevered = false

    init(
        _ kind: Kind, _ name: String, from near: SimulatedChannel, to far: SimulatedChannel, latency: TimeAmount,
        in simulation: Simulation, onDelivery: @escaping (Wire) -> Void
    ) {
        self.kind = kind
        self.name = name
        self.near = near
        self.far = far
        self.forward = Pipe("\(name)>", from: near, to: far, latency: latency, in: simulation)
        self.backward = Pipe("\(name)<", from: far, to: near, latency: latency, in: simulation)
        self.forward.opposite = self.backward
        self.backward.opposite = self.forward
        near.outgoing = self.forward
        far.outgoing = self.backward
        self.forward.onDelivery = { [unowned self] in onDelivery(self) }
        self.backward.onDelivery = { [unowned self] in onDelivery(self) }
    }

    var isOpen: Bool { self.near.isOpen || self.far.isOpen }

    /// Break the connection: both ends hear of a reset.
    func cut() {
        self.forward.reset()
        self.backward.reset()
    }

    /// Let nothing through any more, and say nothing.
    func sever() {
        self.isSevered = true
        self.forward.freeze()
        self.backward.freeze()
    }

    /// A process at one end has died, and its kernel says so to the other.
    func abandoned(by channel: SimulatedChannel) {
        let pipe = channel === self.near ? self.forward : self.backward
        if channel.diesWithReset { pipe.reset() } else { pipe.finish() }
    }
}

/// One direction of a ``Wire``: bytes in order, late, and no more of them than the receiver's socket holds.
final class Pipe: @unchecked Sendable {
    // @unchecked: as the simulation.

    private enum Segment { case bytes(ByteBuffer), end, reset }

    let name: String
    private let simulation: Simulation
    private unowned let sender: SimulatedChannel
    private unowned let receiver: SimulatedChannel
    unowned var opposite: Pipe?
    var onDelivery: () -> Void = {}
    /// How long a segment takes.
    var latency: TimeAmount
    private(set) var isFrozen = false
    private var segments = Deque<(due: NIODeadline, segment: Segment)>()
    private var lastDue = NIODeadline.uptimeNanoseconds(0)
    private var untakenByteCount = 0
    private var isFinished = false
    private var isSenderWaiting = false

    static let capacity = 192 * 1024

    init(
        _ name: String, from sender: SimulatedChannel, to receiver: SimulatedChannel, latency: TimeAmount,
        in simulation: Simulation
    ) {
        self.name = name
        self.sender = sender
        self.receiver = receiver
        self.latency = latency
        self.simulation = simulation
    }

    /// Bytes that may be sent now.
    var room: Int {
        let room = max(0, Self.capacity - self.untakenByteCount)
        if room == 0 { self.isSenderWaiting = true }
        return room
    }

    func send(_ bytes: ByteBuffer) {
        guard !self.isFinished else { return }
        self.untakenByteCount += bytes.readableBytes
        self.append(.bytes(bytes))
    }

    func finish() {
        guard !self.isFinished else { return }
        self.isFinished = true
        self.append(.end)
    }

    /// Break off: what is on its way is lost.
    func reset() {
        self.isFinished = true
        self.segments.removeAll()
        self.lastDue = self.simulation.now
        self.append(.reset)
    }

    /// The receiver has read so many bytes.
    func taken(_ count: Int) {
        self.untakenByteCount -= count
        guard self.isSenderWaiting else { return }
        self.isSenderWaiting = false
        self.sender.loop.execute { self.sender.drain() }
    }

    func freeze() { self.isFrozen = true }

    func thaw() {
        guard self.isFrozen else { return }
        self.isFrozen = false
        self.receiver.loop.execute { self.deliver() }
    }

    private func append(_ segment: Segment) {
        self.lastDue = max(self.lastDue, self.simulation.now + self.latency)
        self.segments.append((self.lastDue, segment))
        self.simulation.schedule(on: self.receiver.loop, at: self.lastDue) { self.deliver() }
    }

    private func deliver() {
        while !self.isFrozen, let first = self.segments.first, first.due <= self.simulation.now {
            self.segments.removeFirst()
            switch first.segment {
            case .bytes(let bytes):
                self.simulation.log("\(self.name) \(bytes.readableBytes)")
                self.receiver.arrived(bytes)
            case .end:
                self.simulation.log("\(self.name) end")
                self.receiver.endArrived()
            case .reset:
                self.simulation.log("\(self.name) reset")
                self.receiver.resetArrived()
            }
            self.onDelivery()
        }
    }
}
