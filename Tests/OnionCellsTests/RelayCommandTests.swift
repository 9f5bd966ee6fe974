import NIOCore
import OnionCrypto
import TestSupport
import Testing

@testable import OnionCells

@Suite("Relay messages in a cell")
struct RelayMessageWalkerTests {
    private static func pack(
        _ messages: [(RelayCommand, UInt16, [UInt8])], leavesTail: Bool = false, into payload: inout [UInt8]
    ) -> Range<Int>? {
        var writer = RelayMessageWriter(leavesUnguessableTail: leavesTail)
        var bytes = payload.mutableSpan
        var span = bytes.mutableBytes
        for (command, id, data) in messages {
            writer.append(command, streamID: StreamID(rawValue: id), data: data.span.bytes, into: &span)
        }
        return writer.finish(&span)
    }

    private static func walk(_ payload: [UInt8]) throws(CellError) -> [RelayMessageHeader] {
        var walker = RelayMessageWalker()
        var found: [RelayMessageHeader] = []
        while let message = try walker.next(in: payload.span.bytes) { found.append(message) }
        return found
    }

    @Test("what was packed is found, in order, and random padding behind it is not looked at", arguments: 0..<50)
    func packing(seed: UInt64) throws {
        var random = SplitMix64(seed)
        var payload = (0..<Cell.payloadByteCount).map { _ in UInt8.random(in: 1...255, using: &random) }
        var messages: [(RelayCommand, UInt16, [UInt8])] = []
        var left = Cell.payloadByteCount
        while true {
            let count = Int.random(in: 0...400, using: &random)
            guard count + RelayMessageHeader.byteCount <= left else { break }
            left -= count + RelayMessageHeader.byteCount
            let command = RelayCommand.allCases.randomElement(using: &random) ?? .data
            let id: UInt16 = command.isAboutCircuit ? 0 : .random(in: 1...(.max), using: &random)
            messages.append((command, id, (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }))
        }
        let rest = Self.pack(messages, into: &payload)
        let found = try Self.walk(payload)
        #expect(
            found.map(\.command) == messages.map(\.0) && found.map(\.streamID.rawValue) == messages.map(\.1),
            "seed \(seed)")
        #expect(found.map { Array(payload[$0.data]) } == messages.map(\.2), "seed \(seed)")
        #expect(rest?.upperBound == Cell.payloadByteCount || left == 0)
    }

    @Test("a message may fill its cell to the last byte, and needs no end then")
    func fullCell() throws {
        var payload = [UInt8](repeating: 0xee, count: Cell.payloadByteCount)
        let data = [UInt8](repeating: 1, count: RelayMessageHeader.maximumDataByteCount)
        #expect(Self.pack([(.data, 1, data)], into: &payload) == nil)
        #expect(try Self.walk(payload).map(\.data.count) == [RelayMessageHeader.maximumDataByteCount])
    }

    @Test("a writer that leaves a tail leaves command 0 and sixteen bytes")
    func tail() throws {
        var writer = RelayMessageWriter(leavesUnguessableTail: true)
        #expect(writer.room == Cell.payloadByteCount - 17 - RelayMessageHeader.byteCount && writer.isEmpty)
        var payload = [UInt8](repeating: 0xee, count: Cell.payloadByteCount)
        let data = [UInt8](repeating: 1, count: writer.room)
        var bytes = payload.mutableSpan
        var span = bytes.mutableBytes
        writer.append(.data, streamID: StreamID(rawValue: 1), data: data.span.bytes, into: &span)
        #expect(writer.room < 0)
        let rest = writer.finish(&span)
        #expect(rest?.count == 16)
        #expect(payload[Cell.payloadByteCount - 17] == 0)
    }

    @Test("an empty cell holds no message")
    func empty() throws {
        #expect(try Self.walk([UInt8](repeating: 0, count: Cell.payloadByteCount)).isEmpty)
        #expect(try Self.walk([]).isEmpty)
    }

    @Test("a command that nobody knows is refused", arguments: [14, 100, 255] as [UInt8])
    func unknownCommand(raw: UInt8) {
        #expect(throws: CellError.unknownCommand(raw)) { try Self.walk([raw, 0, 1, 0, 0]) }
    }

    @Test("a header that does not fit is refused at every byte", arguments: 1..<5)
    func truncatedHeader(count: Int) {
        let bytes = Array([RelayCommand.data.rawValue, 0, 1, 0, 0][..<count])
        #expect(throws: CellError.truncated(need: 5, have: count)) { try Self.walk(bytes) }
    }

    @Test("a length past the cell is refused, one that reaches its end is not")
    func lengths() throws {
        for length in 0...300 {
            var payload = [RelayCommand.data.rawValue, 0, 1, UInt8(length >> 8), UInt8(length & 255)]
            payload += [UInt8](repeating: 0, count: 100)
            if length <= 100 {
                #expect(try Self.walk(payload).first?.data == 5..<5 + length)
            } else {
                #expect(throws: CellError.lengthExceedsCell(length)) { try Self.walk(payload) }
            }
        }
    }

    @Test("stream id 0 is for the circuit's commands exactly", arguments: RelayCommand.allCases)
    func streamIDs(command: RelayCommand) throws {
        for id in [0, 1, 0xffff] as [UInt16] {
            let payload = [command.rawValue, UInt8(id >> 8), UInt8(id & 255), 0, 0]
            if command.isAboutCircuit == (id == 0) {
                #expect(try Self.walk(payload).map(\.streamID.rawValue) == [id])
            } else {
                #expect(throws: CellError.wrongStreamID(command: command.rawValue, streamID: id)) {
                    try Self.walk(payload)
                }
            }
        }
    }

    @Test("random payloads never trap, and every message lies within", arguments: 0..<100)
    func random(seed: UInt64) {
        var random = SplitMix64(seed)
        for _ in 0..<100 {
            var payload = (0..<Int.random(in: 0...200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            for index in payload.indices where index % 7 == 0 {
                payload[index] = UInt8.random(in: 0...13, using: &random)
            }
            var walker = RelayMessageWalker()
            while let message = try? walker.next(in: payload.span.bytes) {
                #expect(message.data.upperBound <= payload.count, "seed \(seed)")
            }
        }
    }
}

@Suite("Handshakes in a cell's body")
struct HandshakeBodyTests {
    private static let client = CircuitHandshake.Client(
        identity: Ed25519PrivateKey().publicKey, onionKey: X25519PrivateKey().publicKey)

    @Test("Create and Created are taken exactly, with zeros behind them")
    func taken() throws {
        var body = Self.client.create
        body += [UInt8](repeating: 0, count: Cell.bodyByteCount - body.count)
        #expect(try HandshakeBody.create(in: body.span.bytes) == Self.client.create)
        var created = [UInt8](repeating: 7, count: CircuitHandshake.createdByteCount)
        created[32 + 1088] = 0
        created[32 + 1089] = 0
        let createdBody = created + [UInt8](repeating: 0, count: Cell.bodyByteCount - created.count)
        #expect(try HandshakeBody.created(in: createdBody.span.bytes) == created)
    }

    @Test("a byte behind the handshake that is not zero is refused")
    func unusedBytes() {
        for place in [CircuitHandshake.createByteCount, Cell.bodyByteCount - 1] {
            var body = Self.client.create + [UInt8](repeating: 0, count: Cell.bodyByteCount - Self.client.create.count)
            body[place] = 1
            #expect(throws: CellError.unusedBytesNotZero) { try HandshakeBody.create(in: body.span.bytes) }
        }
    }

    @Test("a body that is cut is refused at every length")
    func truncated() {
        for count in 0..<Self.client.create.count {
            let body = Array(Self.client.create[..<count])
            #expect(throws: CellError.invalidField(.handshake)) { try HandshakeBody.create(in: body.span.bytes) }
        }
    }

    @Test("an extension length past the body is refused")
    func extensions() {
        var body = Self.client.create + [UInt8](repeating: 0, count: Cell.bodyByteCount - Self.client.create.count)
        body[CircuitHandshake.createByteCount - 2] = 0xff
        #expect(throws: CellError.invalidField(.handshake)) { try HandshakeBody.create(in: body.span.bytes) }
    }
}
