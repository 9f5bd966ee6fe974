import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOTLS
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import OnionLink

/// The circuits of a hostile router: handshakes, layers, Extend and a last hop that echoes, as an honest router has
/// them, with a place where every cell can be tampered with. Bound to one event loop; so are all its links.
final class HostileRelay {
    /// What is told to it from outside, and what it tells.
    final class Shared: Sendable {
        let server: CircuitHandshake.Server
        /// Of a second identity, if it has one.
        let secondServer = NIOLockedValueBox<CircuitHandshake.Server?>(nil)
        let eventLoop: any EventLoop
        let credentials: LinkCredentials
        let dialTLS: LinkTLS
        let shownTLS: NIOLockedValueBox<LinkTLS>
        let deed = NIOLockedValueBox(HostileRouter.Deed.answer)
        let tampering = NIOLockedValueBox<HostileRouter.Tampering?>(nil)
        let answering = NIOLockedValueBox<HostileRouter.Answering?>(nil)
        let tally = NIOLockedValueBox(HostileRouter.Tally())
        private let routers = NIOLockedValueBox<[Ed25519PublicKey: ConsensusRouter]>([:])
        private let channels = NIOLockedValueBox<[any Channel]>([])

        init(server: CircuitHandshake.Server, eventLoop: any EventLoop, credentials: LinkCredentials, tls: LinkTLS) {
            self.server = server
            self.eventLoop = eventLoop
            self.credentials = credentials
            self.dialTLS = tls
            self.shownTLS = NIOLockedValueBox(tls)
        }

        func know(_ consensus: Consensus) {
            self.routers.withLockedValue { routers in
                for router in consensus.routers { routers[router.identity] = router }
            }
        }

        func router(_ identity: Ed25519PublicKey) -> ConsensusRouter? { self.routers.withLockedValue { $0[identity] } }

        func ended(_ circuit: Int, byClient isClient: Bool) {
            self.tally.withLockedValue { tally -> Void in
                if isClient {
                    tally.endedCircuits.insert(circuit)
                } else {
                    tally.circuitsEndedBehind.insert(circuit)
                }
            }
        }

        func opened(_ channel: any Channel) { self.channels.withLockedValue { $0.append(channel) } }

        func closeAll() {
            for channel in self.channels.withLockedValue({ $0 }) { channel.close(promise: nil) }
        }
    }

    private final class Circuit {
        let number: Int
        let create: [UInt8]
        let forward: HopCipher
        let backward: HopCipher
        let previous: (link: RelayLink, id: UInt32)
        var next: (link: RelayLink, id: UInt32)?
        var forwardCellCount = 0
        /// The Create was answered with something else than the true Created.
        var isLie = false

        init(number: Int, create: [UInt8], keys: CircuitKeys, previous: (link: RelayLink, id: UInt32)) {
            self.number = number
            self.create = create
            self.forward = keys.makeForward()
            self.backward = keys.makeBackward()
            self.previous = previous
        }
    }

    private let shared: Shared
    private var circuits: [RelayLink: [UInt32: Circuit]] = [:]
    private var dialled: [Ed25519PublicKey: EventLoopFuture<RelayLinkBox>] = [:]
    private var circuitCount = 0
    private var nextID: UInt32 = 1

    init(_ shared: Shared) { self.shared = shared }

    /// Serve a connection.
    func accept(_ channel: any Channel) throws {
        let tls = self.shared.shownTLS.withLockedValue { $0 }
        self.shared.tally.withLockedValue { $0.acceptedCount += 1 }
        _ = try tls.addServerHandlers(to: channel.pipeline.syncOperations)
        try channel.pipeline.syncOperations.addHandler(RelayLink(relay: self, opened: nil))
        self.shared.opened(channel)
    }

    // What comes over a link.

    fileprivate func received(_ cell: [UInt8], over link: RelayLink) {
        let id = cell[..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let circuit = self.circuits[link]?[id]
        if circuit == nil, id != 0 { self.shared.tally.withLockedValue { $0.strays[id] = cell[4] } }
        switch CellCommand(rawValue: cell[4]) {
        case .netInfo: if !link.isDialled { link.send(HostileLink.cell(0, CellCommand.netInfo.rawValue, [])) }
        case .ping: link.send(HostileLink.cell(0, CellCommand.pong.rawValue, [UInt8](cell[5..<13])))
        case .create: self.createReceived(id, cell, over: link)
        case .created:
            guard let circuit else { return }
            let created = [UInt8](cell[5..<5 + CircuitHandshake.createdByteCount])
            self.originate([.init(.extended, 0, created)], on: circuit)
        case .relay, .relayEarly:
            guard let circuit else { return }
            if circuit.previous.link === link, circuit.previous.id == id {
                self.forward(cell, on: circuit)
            } else {
                self.backward(cell, on: circuit)
            }
        case .destroy:
            self.shared.tally.withLockedValue { $0.destroyCount += 1 }
            guard let circuit else { return }
            let isPrevious = circuit.previous.link === link && circuit.previous.id == id
            self.shared.ended(circuit.number, byClient: isPrevious)
            let other = isPrevious ? circuit.next : circuit.previous
            other.map { $0.link.send(HostileLink.cell($0.id, CellCommand.destroy.rawValue, [0])) }
            self.forget(circuit)
        case .padding, .pong, nil: break
        }
    }

    fileprivate func closed(_ link: RelayLink) {
        for circuit in (self.circuits.removeValue(forKey: link) ?? [:]).values {
            self.shared.ended(circuit.number, byClient: circuit.previous.link === link)
            for end in [circuit.previous, circuit.next].compactMap({ $0 }) where end.link !== link {
                end.link.send(HostileLink.cell(end.id, CellCommand.destroy.rawValue, [0]))
            }
            self.forget(circuit)
        }
        self.dialled = self.dialled.filter { link.target != $0.key }
    }

    private func forget(_ circuit: Circuit) {
        self.circuits[circuit.previous.link]?[circuit.previous.id] = nil
        if let next = circuit.next { self.circuits[next.link]?[next.id] = nil }
    }

    private func createReceived(_ id: UInt32, _ cell: [UInt8], over link: RelayLink) {
        let create = [UInt8](cell[5..<5 + CircuitHandshake.createByteCount])
        let second = self.shared.secondServer.withLockedValue { $0 }
        guard let (created, keys) = (try? self.shared.server.respond(to: create)) ?? (try? second?.respond(to: create))
        else {
            return link.send(HostileLink.cell(id, CellCommand.destroy.rawValue, [2]))
        }
        let circuit = Circuit(number: self.circuitCount, create: create, keys: keys, previous: (link, id))
        self.circuitCount += 1
        self.shared.tally.withLockedValue { $0.createCount += 1 }
        self.circuits[link, default: [:]][id] = circuit
        switch self.shared.deed.withLockedValue({ $0 }) {
        case .answer: link.send(HostileLink.cell(id, CellCommand.created.rawValue, created))
        case .cells(let make):
            circuit.isLie = true
            for answer in make(create, created) {
                link.send(HostileLink.cell(id, answer.command.rawValue, answer.body))
            }
        }
    }

    private func forward(_ cell: [UInt8], on circuit: Circuit) {
        if circuit.isLie { return self.shared.tally.withLockedValue { $0.believedCount += 1 } }
        var cell = cell
        let command = cell[4]
        if command == CellCommand.relay.rawValue {
            circuit.forwardCellCount += 1
            if circuit.forwardCellCount == 1 {
                self.shared.tally.withLockedValue { $0.newestStreamCircuit = circuit.number }
            }
        }
        let isRecognised = Self.withBody(of: &cell) { circuit.forward.forward(command: command, body: &$0) } != nil
        if isRecognised {
            let messages = Self.messages(in: cell[(Cell.headerByteCount + Cell.tagByteCount)...])
            return self.said(messages, on: circuit)
        }
        guard let next = circuit.next else { return }
        Self.address(&cell, to: next.id)
        self.pass(cell, .forward, on: circuit)
    }

    private func backward(_ cell: [UInt8], on circuit: Circuit) {
        var cell = cell
        let command = cell[4]
        Self.withBody(of: &cell) { circuit.backward.backward(command: command, body: &$0) }
        Self.address(&cell, to: circuit.previous.id)
        self.pass(cell, .backward, on: circuit)
    }

    /// Let a cell go, by way of whatever is to be done with it.
    private func pass(_ cell: [UInt8], _ direction: HostileRouter.Passage.Direction, on circuit: Circuit) {
        let (onward, back) =
            direction == .forward ? (circuit.next, Optional(circuit.previous)) : (circuit.previous, circuit.next)
        guard let tampering = self.shared.tampering.withLockedValue({ $0 }) else {
            onward?.link.send(cell)
            return
        }
        let passage = HostileRouter.Passage(
            direction: direction, circuit: circuit.number, create: circuit.create,
            forwardCellCount: circuit.forwardCellCount, cell: cell)
        for act in tampering(passage) {
            switch act {
            case .onward(let cell): onward?.link.send(cell)
            case .back(var cell):
                guard let back else { continue }
                Self.address(&cell, to: back.id)
                back.link.send(cell)
            case .speak(let messages):
                circuit.previous.link.send(Self.seal(messages.flatMap { HostileCircuit.encode($0) }, on: circuit))
            }
        }
    }

    // As the last hop.

    private func said(_ messages: [HostileCircuit.Message], on circuit: Circuit) {
        for message in messages {
            if let payloads = self.shared.answering.withLockedValue({ $0 })?(message, circuit.number) {
                for payload in payloads { self.originate(payload, on: circuit) }
                continue
            }
            switch RelayCommand(rawValue: message.command) {
            case .extend: self.extend(circuit, message.data)
            case .begin:
                // To the directory it lets nobody.
                let isRefused = message.data.first != 0
                let connected: [UInt8] = [4, 127, 0, 0, 1, 0, 0, 0, 0]
                self.originate(
                    [
                        isRefused
                            ? .init(.end, message.stream, [EndReason.notAllowed.rawValue])
                            : .init(.connected, message.stream, connected)
                    ], on: circuit)
            case .data: self.originate([.init(.data, message.stream, message.data)], on: circuit)
            case .resolve:
                let loopback: [UInt8] = [0, 1, 4, 127, 0, 0, 1, 0, 0, 0, 1]
                self.originate([.init(.resolved, message.stream, loopback)], on: circuit)
            default: break
            }
        }
    }

    private func originate(_ messages: [HostileCircuit.Message], on circuit: Circuit) {
        self.originate(messages.flatMap { HostileCircuit.encode($0) }, on: circuit)
    }

    private func originate(_ payload: [UInt8], on circuit: Circuit) {
        self.pass(Self.seal(payload, on: circuit), .backward, on: circuit)
    }

    /// Send cells, as they are, over the link that a circuit came by; false if there is no such circuit.
    func send(_ cells: [[UInt8]], beside number: Int) -> Bool {
        let circuits = self.circuits.values.flatMap(\.values)
        guard let circuit = circuits.first(where: { $0.number == number }) else { return false }
        for cell in cells { circuit.previous.link.send(cell) }
        return true
    }

    private func extend(_ circuit: Circuit, _ data: [UInt8]) {
        guard circuit.next == nil, let identity = Ed25519PublicKey(rawBytes: data.prefix(32)),
            let router = self.shared.router(identity)
        else { return }
        let create = [UInt8](data.dropFirst(32))
        let eventLoop = self.shared.eventLoop
        let bound = NIOLoopBound((self, circuit), eventLoop: eventLoop)
        self.link(to: router).whenComplete { result in
            let (relay, circuit) = bound.value
            guard case .success(let box) = result else {
                circuit.previous.link.send(
                    HostileLink.cell(circuit.previous.id, CellCommand.destroy.rawValue, [3]))
                return relay.forget(circuit)
            }
            let id = relay.nextID | 0x8000_0000
            relay.nextID += 1
            circuit.next = (box.link.value, id)
            relay.circuits[box.link.value, default: [:]][id] = circuit
            box.link.value.send(HostileLink.cell(id, CellCommand.create.rawValue, create))
        }
    }

    private func link(to router: ConsensusRouter) -> EventLoopFuture<RelayLinkBox> {
        if let known = self.dialled[router.identity] { return known }
        let eventLoop = self.shared.eventLoop
        guard let endpoint = router.addresses.first else { return eventLoop.makeFailedFuture(PeerError.notListed) }
        let opened = eventLoop.makePromise(of: RelayLinkBox.self)
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let shared = self.shared
        ClientBootstrap(group: eventLoop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    _ = try shared.dialTLS.addClientHandlers(
                        to: channel.pipeline.syncOperations, expecting: router.linkKey)
                    try channel.pipeline.syncOperations.addHandler(
                        RelayLink(relay: bound.value, opened: opened, target: router.identity))
                }
            }
            .connect(to: SocketAddress(endpoint)).whenComplete { result in
                switch result {
                case .success(let channel): shared.opened(channel)
                case .failure(let error): opened.fail(error)
                }
            }
        self.dialled[router.identity] = opened.futureResult
        return opened.futureResult
    }

    // Cells.

    private static func seal(_ payload: [UInt8], on circuit: Circuit) -> [UInt8] {
        var cell = HostileLink.cell(
            circuit.previous.id, CellCommand.relay.rawValue, [UInt8](repeating: 0, count: Cell.tagByteCount) + payload)
        _ = Self.withBody(of: &cell) { circuit.backward.originate(command: CellCommand.relay.rawValue, body: &$0) }
        return cell
    }

    private static func messages(in payload: ArraySlice<UInt8>) -> [HostileCircuit.Message] {
        let payload = [UInt8](payload)
        var walker = RelayMessageWalker()
        var messages: [HostileCircuit.Message] = []
        payload.withUnsafeBytes { bytes in
            while let header = try? walker.next(in: bytes.bytes) {
                messages.append(
                    .init(header.command, header.streamID.rawValue, [UInt8](bytes[header.data])))
            }
        }
        return messages
    }

    private static func withBody<R>(of cell: inout [UInt8], _ body: (inout MutableRawSpan) -> R) -> R {
        cell.withUnsafeMutableBytes { bytes in
            var span = UnsafeMutableRawBufferPointer(rebasing: bytes[Cell.headerByteCount...]).mutableBytes
            return body(&span)
        }
    }

    private static func address(_ cell: inout [UInt8], to id: UInt32) {
        withUnsafeBytes(of: id.bigEndian) { cell.replaceSubrange(..<4, with: $0) }
    }
}

/// A link's future value: links live on their relay's loop alone.
private struct RelayLinkBox: Sendable {
    let link: NIOLoopBound<RelayLink>
}

/// One link of a hostile router: whole cells in and out.
private final class RelayLink: ChannelInboundHandler, Hashable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let relay: HostileRelay
    private let opened: EventLoopPromise<RelayLinkBox>?
    let target: Ed25519PublicKey?
    private var context: ChannelHandlerContext?
    private var received = ByteBuffer()
    var isDialled: Bool { self.opened != nil }

    init(relay: HostileRelay, opened: EventLoopPromise<RelayLinkBox>?, target: Ed25519PublicKey? = nil) {
        self.relay = relay
        self.opened = opened
        self.target = target
    }

    func send(_ cell: [UInt8]) {
        guard let context else { return }
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: cell)), promise: nil)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted = event as? TLSUserEvent, let opened else { return }
        self.send(HostileLink.cell(0, CellCommand.netInfo.rawValue, []))
        opened.succeed(RelayLinkBox(link: NIOLoopBound(self, eventLoop: context.eventLoop)))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = self.unwrapInboundIn(data)
        self.received.writeBuffer(&bytes)
        while let cell = self.received.readBytes(length: Cell.byteCount) { self.relay.received(cell, over: self) }
        self.received.discardReadBytes()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.opened?.fail(PeerError.circuitFailed("its link is closed"))
        self.relay.closed(self)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    static func == (one: RelayLink, other: RelayLink) -> Bool { one === other }

    func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

@available(*, unavailable)
extension HostileRelay: Sendable {}

@available(*, unavailable)
extension RelayLink: Sendable {}
