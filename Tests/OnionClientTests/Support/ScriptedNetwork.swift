import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams

@testable import OnionClient

/// Every router of a network behind one listening link, with the real handshake, cipher and circuit end: what the host
/// of a Begin is called decides what becomes of it.
final class ScriptedNetwork: LinkOwner {
    let routers: [TestRouter]
    private let byIdentity: [Ed25519PublicKey: TestRouter]
    /// Ids are each link's own.
    private var circuits: [ObjectIdentifier: [CircuitID: ScriptedCircuit]] = [:]
    private var links: [Link] = []
    /// Begins seen, by host, and the exit that saw the first.
    var begins: [String: Int] = [:]
    fileprivate var firstExits: [String: Ed25519PublicKey] = [:]
    /// Creates that are left without an answer.
    var ignoresCreates = false
    /// A guard that answers Creates badly.
    var spoilt: (guard: Ed25519PublicKey, habit: Habit)?
    enum Habit: CaseIterable, Sendable { case destroys, closesLink, saysNonsense }
    /// Messages that go with an Extended, before and behind it.
    var withExtended: (before: [RelayCommand], behind: [RelayCommand]) = ([], [])
    /// Circuits that have got their third hop, and those that the client has destroyed.
    fileprivate(set) var completeCount = 0
    private(set) var destroyedCount = 0
    let padding = PaddingSourceBox()

    init(routers: [TestRouter]) {
        self.routers = routers
        self.byIdentity = Dictionary(uniqueKeysWithValues: routers.map { ($0.identity.publicKey, $0) })
    }

    var circuitCount: Int { self.circuits.values.reduce(0) { $0 + $1.count } }

    func respond(to create: [UInt8]) -> (created: [UInt8], keys: CircuitKeys)? {
        guard let identity = Ed25519PublicKey(rawBytes: create[2..<34]), let router = self.byIdentity[identity] else {
            return nil
        }
        return try? CircuitHandshake.Server(identity: identity, onionKeys: [router.onionKey]).respond(to: create)
    }

    func closeLinks() {
        for link in self.links { link.close() }
        self.links = []
    }

    func destroy(_ circuit: ScriptedCircuit) {
        self.circuits[ObjectIdentifier(circuit.link)]?[circuit.id] = nil
        circuit.link.send(circuit: circuit.id, command: .destroy, body: [DestroyReason.unspecified.rawValue])
    }

    func linkOpened(_ link: Link) { self.links.append(link) }

    func link(_ link: Link, received cells: inout CellBatch) {
        let on = ObjectIdentifier(link)
        cells.forEachCell { header, cell in
            guard header.circuitID != .link else { return }
            let body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            switch header.command {
            case .create:
                guard !self.ignoresCreates, let create = try? HandshakeBody.create(in: body.bytes) else { return }
                if let spoilt = self.spoilt, Ed25519PublicKey(rawBytes: create[2..<34]) == spoilt.guard {
                    let id = header.circuitID
                    switch spoilt.habit {
                    case .destroys:
                        return link.send(circuit: id, command: .destroy, body: [DestroyReason.resourceLimit.rawValue])
                    case .saysNonsense: return link.send(circuit: id, command: .relay, body: [1])
                    case .closesLink:
                        let bound = NIOLoopBound(link, eventLoop: link.eventLoop)
                        return link.eventLoop.execute { bound.value.close() }
                    }
                }
                guard let (created, keys) = self.respond(to: create) else { return }
                self.circuits[on, default: [:]][header.circuitID] = ScriptedCircuit(
                    id: header.circuitID, link: link, network: self, keys: keys)
                link.send(circuit: header.circuitID, command: .created, body: created)
            case .relay, .relayEarly:
                var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
                self.circuits[on]?[header.circuitID]?.received(command: header.rawCommand, &body)
            case .destroy:
                self.destroyedCount += 1
                self.circuits[on]?[header.circuitID] = nil
            default: break
            }
        }
    }

    func link(_ link: Link, hasRoomFor circuit: CircuitID) {
        self.circuits[ObjectIdentifier(link)]?[circuit]?.endpoint?.roomAvailable()
    }
    func link(_ link: Link, overflowed circuit: CircuitID) {}
    func linkClosed(_ link: Link, error: LinkError) { self.circuits[ObjectIdentifier(link)] = nil }
}

/// All hops of one circuit.
final class ScriptedCircuit: CircuitEndpointOwner {
    let id: CircuitID
    let link: Link
    private unowned let network: ScriptedNetwork
    private var forward: [HopCipher]
    private var backward: [HopCipher]
    private(set) var endpoint: CircuitEndpoint?
    private var exit: Ed25519PublicKey?

    init(id: CircuitID, link: Link, network: ScriptedNetwork, keys: CircuitKeys) {
        self.id = id
        self.link = link
        self.network = network
        self.forward = [keys.makeForward()]
        self.backward = [keys.makeBackward()]
    }

    func received(command: UInt8, _ body: inout MutableRawSpan) {
        for (hop, cipher) in self.forward.enumerated() {
            guard let tag = cipher.forward(command: command, body: &body) else { continue }
            let payload = body.bytes.extracting(droppingFirst: Cell.tagByteCount)
            if let endpoint { return endpoint.cellReceived(payload: payload, tag: tag) }
            return self.extend(payload, at: hop)
        }
        self.network.destroy(self)
    }

    private func extend(_ payload: RawSpan, at hop: Int) {
        var walker = RelayMessageWalker()
        guard let message = try? walker.next(in: payload), message.command == .extend,
            let extend = try? Extend(
                data: ByteBuffer(bytes: payload.extracting(message.data).withUnsafeBytes { [UInt8]($0) })),
            let (created, keys) = self.network.respond(to: extend.create)
        else { return self.network.destroy(self) }
        self.exit = extend.identity
        _ = self.send(from: hop) { payload in
            var writer = RelayMessageWriter(leavesUnguessableTail: false)
            let (before, behind) = self.network.withExtended
            for command in before {
                writer.append(command, streamID: .circuit, data: [UInt8]().span.bytes, into: &payload)
            }
            writer.append(.extended, streamID: .circuit, data: created.span.bytes, into: &payload)
            for command in behind {
                writer.append(command, streamID: .circuit, data: [UInt8]().span.bytes, into: &payload)
            }
            _ = writer.finish(&payload)
        }
        self.forward.append(keys.makeForward())
        self.backward.append(keys.makeBackward())
        guard self.forward.count == 3 else { return }
        self.network.completeCount += 1
        self.endpoint = CircuitEndpoint(
            role: .exit, eventLoop: self.link.eventLoop, congestion: CongestionParameters.proposal324,
            limits: ClientCircuit.Settings(NetworkParameters()).streams, padding: self.network.padding, owner: self)
    }

    private func send(from hop: Int, fill: (inout MutableRawSpan) -> Void) -> CellTag {
        var tag = CellTag(high: 0, low: 0)
        self.link.send(circuit: self.id) { cell in
            CellHeader(circuitID: self.id, command: .relay).write(to: &cell)
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            Self.fill(&body, fill)
            tag = self.backward[hop].originate(command: CellCommand.relay.rawValue, body: &body)
            for lower in self.backward[..<hop].reversed() {
                lower.backward(command: CellCommand.relay.rawValue, body: &body)
            }
        }
        return tag
    }

    private static func fill(_ body: inout MutableRawSpan, _ fill: (inout MutableRawSpan) -> Void) {
        var payload = body._mutatingExtracting(Cell.tagByteCount..<Cell.bodyByteCount)
        fill(&payload)
    }

    func endpointHasRoom(_ endpoint: CircuitEndpoint) -> Bool { self.link.backlog(of: self.id) < 32 }

    func endpoint(_ endpoint: CircuitEndpoint, sendCell fill: (inout MutableRawSpan) -> Void) -> CellTag {
        self.send(from: 2, fill: fill)
    }

    func endpoint(
        _ endpoint: CircuitEndpoint, opened stream: OnionStream, by command: RelayCommand, data: ByteBuffer
    ) throws(CircuitError) {
        if command == .resolve {
            return stream.resolved(Self.answer(to: try? Resolve(data: data)))
        }
        guard let begin = try? Begin(data: data), case .host(let host, _) = begin.target else {
            return stream.end(.notAllowed)
        }
        self.network.begins[host, default: 0] += 1
        let isFirst = self.network.begins[host] == 1
        if isFirst { self.network.firstExits[host] = self.exit }
        switch host {
        case "refused", "192.0.2.66": stream.end(.connectionRefused)
        case "refused-once": isFirst ? stream.end(.connectionRefused) : self.connect(stream)
        case "refused-by-first":
            self.network.firstExits[host] == self.exit ? stream.end(.exitPolicy) : self.connect(stream)
        case "silent-once": if !isFirst { self.connect(stream) }
        case "drop-inside":
            // From the guard, which has no business to say anything.
            _ = self.send(from: 0) { payload in
                var writer = RelayMessageWriter(leavesUnguessableTail: false)
                writer.append(.drop, streamID: .circuit, data: [UInt8]().span.bytes, into: &payload)
                _ = writer.finish(&payload)
            }
            self.connect(stream)
        case "dies": self.network.destroy(self)
        case "dies-once": isFirst ? self.network.destroy(self) : self.connect(stream)
        default: self.connect(stream)
        }
    }

    private static func answer(to query: Resolve?) -> Resolved {
        let addresses: [UInt32] =
            switch query {
            case .addresses(of: "private.test"): [0x7f00_0001, 0x0a00_0001, 0xc0a8_0101]
            case .addresses(of: "mixed.test"): [0x7f00_0001, 0x0102_0304]
            case .addresses, .name, nil: [0x0102_0304]
            }
        return .answers(addresses.map { .init(.address(.v4($0)), ttlSeconds: 60) })
    }

    private func connect(_ stream: OnionStream) {
        guard stream.connected(Connected(address: .v4(0x7f00_0001), ttlSeconds: 60)) else { return }
        stream.attach(EchoSink(stream))
    }

    func endpoint(_ endpoint: CircuitEndpoint, truncated reason: DestroyReason) {}
    func endpoint(_ endpoint: CircuitEndpoint, failed error: CircuitError) { self.network.destroy(self) }
    func endpoint(_ endpoint: CircuitEndpoint, closed stream: OnionStream) {}
}

/// Sends back what comes.
final class EchoSink: StreamSink {
    private unowned let stream: OnionStream
    init(_ stream: OnionStream) { self.stream = stream }
    func streamReceived(_ data: RawSpan) {
        let bytes = data.withUnsafeBytes { [UInt8]($0) }
        self.stream.send(ByteBuffer(bytes: bytes))
        self.stream.drained(byteCount: bytes.count)
    }
    func streamFinished() { self.stream.finish() }
    func streamHasRoom() {}
    func streamEnded(_ reason: EndReason) {}
}
