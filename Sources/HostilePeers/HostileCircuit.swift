import OnionAddress
package import OnionCells
package import OnionCrypto
package import OnionDirectory

/// A circuit in an attacker's hands: it holds all keys of a client, and may seal any messages for any hop in any cell.
package final class HostileCircuit {
    package struct Message: Equatable, Sendable {
        package var command: UInt8
        package var stream: UInt16
        package var data: [UInt8]

        package init(_ command: RelayCommand, _ stream: UInt16 = 0, _ data: [UInt8] = []) {
            self.init(raw: command.rawValue, stream, data)
        }

        package init(raw command: UInt8, _ stream: UInt16, _ data: [UInt8]) {
            self.command = command
            self.stream = stream
            self.data = data
        }

        package static func begin(_ stream: UInt16, port: UInt16, host: String = "127.0.0.1") -> Message {
            Message(.begin, stream, [0, UInt8(port >> 8), UInt8(port & 255)] + Array(host.utf8))
        }
    }

    package enum Event: Equatable, Sendable {
        case message(hop: Int, Message)
        /// A backward cell that no hop has made.
        case noise
        case destroyed(UInt8)
        case linkClosed
        case silence
    }

    package let link: HostileLink
    package let id: UInt32
    package private(set) var routers: [ConsensusRouter] = []
    private var forward: [HopCipher] = []
    private var backward: [HopCipher] = []
    private var events: [Event] = []
    /// Tags of the cells from the last hop that count, in order.
    package private(set) var receivedTags: [CellTag] = []
    /// The Create for each hop, which names the circuit there.
    package private(set) var creates: [[UInt8]] = []
    /// What the first hop answered.
    package private(set) var firstCreated: [UInt8]?

    package init(link: HostileLink, id: UInt32 = 0x8000_0001) {
        self.link = link
        self.id = id
    }

    /// Build a circuit as an honest client does.
    package static func build(
        _ path: [ConsensusRouter], on link: HostileLink? = nil, id: UInt32 = 0x8000_0001,
        handshake: CircuitHandshake.Client? = nil
    ) async throws -> HostileCircuit {
        guard let first = path.first else { throw PeerError.notListed }
        let dialled: HostileLink
        if let link { dialled = link } else { dialled = try await HostileLink.dial(first) }
        let circuit = HostileCircuit(link: dialled, id: id)
        try await circuit.create(first, handshake)
        for router in path.dropFirst() { try await circuit.extend(to: router) }
        return circuit
    }

    package func create(_ router: ConsensusRouter, _ handshake: CircuitHandshake.Client? = nil) async throws {
        let handshake =
            handshake ?? CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
        self.creates.append(handshake.create)
        self.link.send(self.id, CellCommand.create.rawValue, handshake.create)
        guard let cell = await self.link.next(of: self.id) else {
            throw PeerError.circuitFailed("\(router.nickname) does not answer a Create")
        }
        guard cell[4] == CellCommand.created.rawValue else {
            throw PeerError.circuitFailed("\(router.nickname) answers a Create with command \(cell[4]), \(cell[5])")
        }
        let created = [UInt8](cell[5..<5 + CircuitHandshake.createdByteCount])
        self.firstCreated = created
        self.add(router, try handshake.complete(created: created))
    }

    package func extend(to router: ConsensusRouter) async throws {
        let handshake = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
        self.creates.append(handshake.create)
        self.send([Message(.extend, 0, router.identity.rawBytes + handshake.create)], command: .relayEarly)
        let event = await self.next()
        guard case .message(_, let answer) = event, answer.command == RelayCommand.extended.rawValue else {
            throw PeerError.circuitFailed("not extended to \(router.nickname): \(event)")
        }
        self.add(router, try handshake.complete(created: answer.data))
    }

    private func add(_ router: ConsensusRouter, _ keys: CircuitKeys) {
        self.routers.append(router)
        self.forward.append(keys.makeForward())
        self.backward.append(keys.makeBackward())
        // Another hop counts from here on.
        self.receivedTags = []
    }

    /// Seal messages for a hop (the last, if not said) in a whole cell, which is not yet sent.
    package func seal(_ messages: [Message], to hop: Int? = nil, command: CellCommand = .relay) -> [UInt8] {
        self.seal(payload: messages.flatMap { Self.encode($0) }, to: hop, command: command)
    }

    package static func encode(_ message: Message) -> [UInt8] {
        [message.command, UInt8(message.stream >> 8), UInt8(message.stream & 255)]
            + [UInt8(message.data.count >> 8), UInt8(message.data.count & 255)] + message.data
    }

    package func seal(payload: [UInt8], to hop: Int? = nil, command: CellCommand = .relay) -> [UInt8] {
        var cell = HostileLink.cell(
            self.id, command.rawValue, [UInt8](repeating: 0, count: Cell.tagByteCount) + payload)
        cell.withUnsafeMutableBytes { bytes in
            var span = UnsafeMutableRawBufferPointer(rebasing: bytes[Cell.headerByteCount...]).mutableBytes
            _ = ClientCipher.originate(
                self.forward, target: hop ?? self.forward.count - 1, command: command.rawValue, body: &span)
        }
        return cell
    }

    package func send(_ messages: [Message], to hop: Int? = nil, command: CellCommand = .relay) {
        self.link.send(self.seal(messages, to: hop, command: command))
    }

    package func next(seconds: Double = 10) async -> Event {
        while self.events.isEmpty {
            guard let cell = await self.link.next(of: self.id, seconds: seconds) else {
                return self.link.isClosed ? .linkClosed : .silence
            }
            self.received(cell)
        }
        return self.events.removeFirst()
    }

    /// Wait for the end of the circuit; messages before it are returned.
    package func end(seconds: Double = 10) async -> (messages: [Message], event: Event) {
        var messages: [Message] = []
        while true {
            switch await self.next(seconds: seconds) {
            case .message(_, let message): messages.append(message)
            case let event: return (messages, event)
            }
        }
    }

    private func received(_ cell: [UInt8]) {
        if cell[4] == CellCommand.destroy.rawValue { return self.events.append(.destroyed(cell[5])) }
        var body = [UInt8](cell[Cell.headerByteCount...])
        let opened = body.withUnsafeMutableBytes { bytes in
            var span = bytes.mutableBytes
            return ClientCipher.backward(self.backward, command: cell[4], body: &span)
        }
        guard let (hop, tag) = opened else { return self.events.append(.noise) }
        var rest = body[Cell.tagByteCount...]
        var isCounted = rest.first == 0
        while rest.count >= RelayMessageHeader.byteCount, let command = rest.first, command != 0 {
            let field = Array(rest.prefix(5))
            let count = Int(field[3]) << 8 | Int(field[4])
            rest = rest.dropFirst(5)
            if !(RelayCommand(rawValue: command)?.isFlowControl ?? true) { isCounted = true }
            self.events.append(
                .message(
                    hop: hop,
                    Message(raw: command, UInt16(field[1]) << 8 | UInt16(field[2]), Array(rest.prefix(count)))))
            rest = rest.dropFirst(count)
        }
        if isCounted, hop == self.backward.count - 1 { self.receivedTags.append(tag) }
    }
}
