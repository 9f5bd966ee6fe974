import NIOCore
import NIOEmbedded
import NIOTLS
import OnionCells
import OnionCrypto

@testable import OnionLink
@testable import OnionRouter

/// The far end of one of the OR's links: a proxy or another OR, played by the fuzzer. Keeps the circuits that it has created
/// and those that were created towards it, and checks every cell that the OR sends:
///
/// - none on a circuit that neither side has created, and nothing but Destroy on one that the OR has destroyed;
/// - what a client said to the hop behind the OR arrives there whole and in order, and the other way round; what was
///   altered on the way is recognised by nobody;
/// - a Destroy towards the next hop tells nothing.
final class RouterPeer {
    /// A circuit that this peer has created through the OR, as a client.
    final class Origin {
        var forward: [HopCipher] = []
        var backward: [HopCipher] = []
        /// To whom it is being extended.
        var target: RouterFixture.Neighbour?
        var next: Next?
        /// A cell to the next hop was altered: from there on it can read nothing.
        var isTainted = false
        /// The Create was not the client's own, so that nothing comes of the answer.
        let isForged: Bool
        var isDestroyed = false

        init(isForged: Bool) { self.isForged = isForged }
    }

    /// A circuit that the OR has created towards this peer.
    final class Next {
        let create: [UInt8]
        var forward: HopCipher?
        var backward: HopCipher?
        weak var origin: Origin?
        /// What was said to this hop, and what it has said, and is still to arrive.
        var said: [[UInt8]] = []
        var replied: [[UInt8]] = []
        /// A cell of this hop was altered: from there on the client can read nothing.
        var isTainted = false
        var isDestroyed = false
        /// This peer has destroyed it, or asked for a circuit of its own by the same id: a Destroy may answer that.
        var isLeft = false

        init(create: [UInt8]) { self.create = create }
    }

    let neighbour: RouterFixture.Neighbour?
    let channel: EmbeddedChannel
    let link: Link
    private(set) var origins: [CircuitID: Origin] = [:]
    private(set) var nexts: [CircuitID: Next] = [:]
    private var ids: CircuitIDAllocator
    private unowned let router: WatchedRouter

    init(_ router: WatchedRouter, neighbour: RouterFixture.Neighbour?, isDialledByRouter: Bool) {
        self.router = router
        self.neighbour = neighbour
        self.ids = CircuitIDAllocator(isDialler: !isDialledByRouter)
        self.channel = EmbeddedChannel(loop: router.eventLoop)
        self.link = Link(
            channel: self.channel, isDialler: isDialledByRouter, peer: PeerKey(publicKey: neighbour?.linkKey),
            owner: router.loop, limits: router.loop.view.linkLimits
        ) { _ in .anonymous }
        do {
            try self.channel.pipeline.syncOperations.addHandler(self.link)
            try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        } catch { preconditionFailure("no connection: \(error)") }
        self.channel.pipeline.fireUserInboundEventTriggered(
            TLSUserEvent.handshakeCompleted(negotiatedProtocol: LinkProtocol.link.rawValue))
        var body = ByteBuffer()
        NetInfo.anonymous.write(to: &body)
        self.send(.netInfo, on: .link, body: Array(buffer: body))
    }

    // MARK: What it says

    func send(_ command: CellCommand, on circuit: CircuitID, body: [UInt8]) {
        guard self.channel.isActive else { return }
        var cell = [UInt8](repeating: 0, count: Cell.byteCount)
        cell.replaceSubrange(Cell.headerByteCount..<Cell.headerByteCount + body.count, with: body)
        do {
            var span = cell.mutableSpan
            var bytes = span.mutableBytes
            CellHeader(circuitID: circuit, command: command).write(to: &bytes)
        }
        _ = try? self.channel.writeInbound(ByteBuffer(bytes: cell))
    }

    func create(_ body: [UInt8]) {
        guard let id = self.ids.allocate() else { return }
        self.create(body, on: id)
    }

    func create(_ body: [UInt8], on id: CircuitID) {
        // One that exists already is ended by it.
        self.nexts[id]?.isLeft = true
        if self.origins[id] == nil, self.nexts[id] == nil {
            self.origins[id] = Origin(isForged: body != RouterFixture.shared.handshakes.create)
        }
        self.send(.create, on: id, body: body)
    }

    /// A message from the client to the OR, or to the hop behind it.
    ///
    /// - Parameter change: a bit that is turned over on the way.
    func say(_ payload: [UInt8], on id: CircuitID, toHop hop: Int, early: Bool, change: UInt8?) {
        guard let origin = self.origins[id], hop < origin.forward.count, !origin.isDestroyed else { return }
        let command: CellCommand = early ? .relayEarly : .relay
        var body = [UInt8](repeating: 0, count: Cell.tagByteCount) + payload
        do {
            var span = body.mutableSpan
            var bytes = span.mutableBytes
            _ = ClientCipher.originate(origin.forward, target: hop, command: command.rawValue, body: &bytes)
        }
        if let change {
            body[Int(change) * 7 % body.count] ^= 1 << (change & 7)
            origin.isTainted = true
        } else if hop == 1, !origin.isTainted {
            origin.next?.said.append(payload)
        }
        self.send(command, on: id, body: body)
    }

    /// Answer a Create as an OR does, or wrongly.
    func answer(_ id: CircuitID, change: UInt8?) {
        guard let next = self.nexts[id], next.backward == nil, let neighbour, !next.isDestroyed,
            let (created, keys) = self.router.respond(to: next.create, as: neighbour)
        else { return }
        var body = created
        if let change {
            body[Int(change) * 5 % body.count] ^= 1 << (change & 7)
            self.router.hasForgedAnswers = true
        } else {
            next.forward = keys.makeForward()
            next.backward = keys.makeBackward()
            self.router.answered(created, by: next)
        }
        self.send(.created, on: id, body: body)
    }

    /// A Created that the script makes up is on its way.
    func forgeAnswer() { self.router.hasForgedAnswers = true }

    /// A message from the hop behind the OR to the client.
    func reply(_ payload: [UInt8], on id: CircuitID, command: CellCommand, change: UInt8?) {
        guard let next = self.nexts[id], let backward = next.backward, !next.isDestroyed else { return }
        var body = [UInt8](repeating: 0, count: Cell.tagByteCount) + payload
        do {
            var span = body.mutableSpan
            var bytes = span.mutableBytes
            _ = backward.originate(command: command.rawValue, body: &bytes)
        }
        if let change {
            body[Int(change) * 7 % body.count] ^= 1 << (change & 7)
            next.isTainted = true
        } else if command == .relay, !next.isTainted {
            next.replied.append(payload)
        }
        self.send(command, on: id, body: body)
    }

    func destroy(_ id: CircuitID, reason: UInt8) {
        self.nexts[id]?.isLeft = true
        self.send(.destroy, on: id, body: [reason])
    }

    // MARK: What it hears

    func readWritten() {
        while let batch = try? self.channel.readOutbound(as: ByteBuffer.self) {
            precondition(batch.readableBytes % Cell.byteCount == 0, "a part of a cell is sent")
            var cells = batch
            while let cell = cells.readBytes(length: Cell.byteCount) {
                let header = CellHeader(of: cell.span.bytes)
                guard header.circuitID != .link, let command = header.command else { continue }
                self.heard(command, on: header.circuitID, body: Array(cell.dropFirst(Cell.headerByteCount)))
            }
        }
    }

    private func heard(_ command: CellCommand, on id: CircuitID, body: [UInt8]) {
        if let origin = self.origins[id] { return self.heard(command, on: origin, body) }
        if let next = self.nexts[id] { return self.heard(command, on: next, body) }
        precondition(command == .create, "a \(command) comes on a circuit that nobody has created")
        precondition(id.isAllocatedByDialler == self.link.isDialler, "the OR takes an id of its peer's")
        guard let create = try? HandshakeBody.create(in: body.span.bytes) else {
            preconditionFailure("the OR's Create cannot be read")
        }
        self.nexts[id] = Next(create: create)
    }

    private func heard(_ command: CellCommand, on origin: Origin, _ body: [UInt8]) {
        precondition(!origin.isDestroyed || command == .destroy, "a \(command) comes on a circuit that is destroyed")
        switch command {
        case .created:
            precondition(origin.forward.isEmpty, "a circuit is created twice")
            guard !origin.isForged else { break }
            guard let created = try? HandshakeBody.created(in: body.span.bytes),
                let keys = RouterFixture.shared.handshakes.complete(created)
            else { preconditionFailure("the OR's Created is not its own") }
            origin.forward = [keys.makeForward()]
            origin.backward = [keys.makeBackward()]
        case .relay: self.heardRelay(on: origin, body)
        case .destroy: origin.isDestroyed = true
        case .padding, .create, .relayEarly, .netInfo, .ping, .pong:
            preconditionFailure("the OR says \(command) to a client")
        }
    }

    private func heardRelay(on origin: Origin, _ body: [UInt8]) {
        var body = body
        let hop: Int?
        do {
            var span = body.mutableSpan
            var bytes = span.mutableBytes
            hop = ClientCipher.backward(origin.backward, command: CellCommand.relay.rawValue, body: &bytes)?.hop
        }
        let payload = Array(body.dropFirst(Cell.tagByteCount))
        switch hop {
        case nil: precondition(self.router.hasForgedAnswers || origin.next?.isTainted == true, "nobody can read a cell")
        case 0: self.heardFromRouter(payload, on: origin)
        default:
            guard let next = origin.next, !next.replied.isEmpty, next.replied.removeFirst() == payload else {
                preconditionFailure("a cell comes back changed")
            }
        }
    }

    private func heardFromRouter(_ payload: [UInt8], on origin: Origin) {
        var walker = RelayMessageWalker()
        while let message = try? walker.next(in: payload.span.bytes) {
            let data = Array(payload[message.data])
            switch message.command {
            case .extended:
                guard let next = self.router.next(thatAnswered: data), let target = origin.target,
                    let keys = target.handshakes.complete(data)
                else {
                    precondition(self.router.hasForgedAnswers, "an Extended is not the Created that was sent")
                    break
                }
                origin.forward.append(keys.makeForward())
                origin.backward.append(keys.makeBackward())
                origin.next = next
                next.origin = origin
            case .truncated, .end, .connected, .data, .sendMe, .xOff, .xOn, .resolved, .drop: break
            case .begin, .extend, .resolve: preconditionFailure("an OR says \(message.command)")
            }
        }
    }

    private func heard(_ command: CellCommand, on next: Next, _ body: [UInt8]) {
        precondition(!next.isDestroyed || command == .destroy, "a \(command) comes on a circuit that is destroyed")
        switch command {
        case .relay, .relayEarly:
            // Nobody has the keys of a circuit whose answer was forged.
            guard let forward = next.forward else { break }
            var body = body
            let isRecognised: Bool
            do {
                var span = body.mutableSpan
                var bytes = span.mutableBytes
                isRecognised = forward.forward(command: command.rawValue, body: &bytes) != nil
            }
            guard isRecognised else {
                precondition(next.origin?.isTainted ?? true, "the next hop cannot read what the client said")
                break
            }
            precondition(
                !next.said.isEmpty && next.said.removeFirst() == Array(body.dropFirst(Cell.tagByteCount)),
                "a cell goes on changed")
        case .destroy:
            precondition(
                next.isLeft || body[0] == DestroyReason.unspecified.rawValue, "the next hop learns why a circuit ends")
            next.isDestroyed = true
        case .padding, .create, .created, .netInfo, .ping, .pong:
            preconditionFailure("the OR says \(command) to the next hop")
        }
    }
}
