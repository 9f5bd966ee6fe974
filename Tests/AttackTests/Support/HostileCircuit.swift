import NIOCore
import OnionCells
import OnionCrypto
import OnionDirectory
import Testing

/// A circuit in an attacker's hands: it holds all keys of a client, and may seal any messages for any hop in any cell.
final class HostileCircuit {
    struct Message: Equatable {
        var command: UInt8
        var stream: UInt16
        var data: [UInt8]

        init(_ command: RelayCommand, _ stream: UInt16 = 0, _ data: [UInt8] = []) {
            self.init(raw: command.rawValue, stream, data)
        }

        init(raw command: UInt8, _ stream: UInt16, _ data: [UInt8]) {
            self.command = command
            self.stream = stream
            self.data = data
        }

        static func begin(_ stream: UInt16, port: UInt16) -> Message {
            Message(.begin, stream, [0, UInt8(port >> 8), UInt8(port & 255)] + Array("127.0.0.1".utf8))
        }
    }

    enum Event: Equatable {
        case message(hop: Int, Message)
        case destroyed(UInt8)
        case linkClosed
        case silence
    }

    let link: HostileLink
    let id: UInt32
    private(set) var routers: [ConsensusRouter] = []
    private var forward: [HopCipher] = []
    private var backward: [HopCipher] = []
    private var events: [Event] = []
    /// Tags of the cells from the last hop that count, in order.
    private(set) var receivedTags: [CellTag] = []

    init(link: HostileLink, id: UInt32 = 0x8000_0001) {
        self.link = link
        self.id = id
    }

    /// Build a circuit as an honest client does.
    static func build(
        _ path: [ConsensusRouter], on link: HostileLink? = nil, id: UInt32 = 0x8000_0001
    ) async throws -> HostileCircuit {
        let first = try #require(path.first)
        let dialled: HostileLink
        if let link { dialled = link } else { dialled = try await HostileLink.dial(first) }
        let circuit = HostileCircuit(link: dialled, id: id)
        try await circuit.create(first)
        for router in path.dropFirst() { try await circuit.extend(to: router) }
        return circuit
    }

    func create(_ router: ConsensusRouter) async throws {
        let handshake = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
        self.link.send(self.id, CellCommand.create.rawValue, handshake.create)
        let cell = try #require(await self.link.next(of: self.id))
        #expect(cell[4] == CellCommand.created.rawValue)
        self.add(router, try handshake.complete(created: [UInt8](cell[5..<5 + CircuitHandshake.createdByteCount])))
    }

    func extend(to router: ConsensusRouter) async throws {
        let handshake = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
        self.send([Message(.extend, 0, router.identity.rawBytes + handshake.create)], command: .relayEarly)
        guard case .message(_, let answer) = await self.next(), answer.command == RelayCommand.extended.rawValue else {
            throw CircuitFailed()
        }
        self.add(router, try handshake.complete(created: answer.data))
    }

    struct CircuitFailed: Error {}

    private func add(_ router: ConsensusRouter, _ keys: CircuitKeys) {
        self.routers.append(router)
        self.forward.append(keys.makeForward())
        self.backward.append(keys.makeBackward())
    }

    // MARK: Sending

    /// Seal messages for a hop (the last, if not said) in a whole cell, which is not yet sent.
    func seal(_ messages: [Message], to hop: Int? = nil, command: CellCommand = .relay) -> [UInt8] {
        self.seal(payload: messages.flatMap { Self.encode($0) }, to: hop, command: command)
    }

    static func encode(_ message: Message) -> [UInt8] {
        [message.command, UInt8(message.stream >> 8), UInt8(message.stream & 255)]
            + [UInt8(message.data.count >> 8), UInt8(message.data.count & 255)] + message.data
    }

    func seal(payload: [UInt8], to hop: Int? = nil, command: CellCommand = .relay) -> [UInt8] {
        var cell = HostileLink.cell(
            self.id, command.rawValue, [UInt8](repeating: 0, count: Cell.tagByteCount) + payload)
        cell.withUnsafeMutableBytes { bytes in
            var span = UnsafeMutableRawBufferPointer(rebasing: bytes[Cell.headerByteCount...]).mutableBytes
            _ = ClientCipher.originate(
                self.forward, target: hop ?? self.forward.count - 1, command: command.rawValue, body: &span)
        }
        return cell
    }

    func send(_ messages: [Message], to hop: Int? = nil, command: CellCommand = .relay) {
        self.link.send(self.seal(messages, to: hop, command: command))
    }

    // MARK: Receiving

    func next(seconds: Double = 10) async -> Event {
        while self.events.isEmpty {
            guard let cell = await self.link.next(of: self.id, seconds: seconds) else {
                return self.link.isClosed ? .linkClosed : .silence
            }
            self.received(cell)
        }
        return self.events.removeFirst()
    }

    /// Wait for the end of the circuit; messages before it are returned.
    func end(seconds: Double = 10) async -> (messages: [Message], event: Event) {
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
        guard let (hop, tag) = opened else {
            Issue.record("a backward cell that no hop has made")
            return
        }
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
