import Dispatch
import NIOCore
import OnionCells
import Testing

@testable import OnionCrypto
@testable import OnionLink
@testable import OnionRouter

/// The client's end of a circuit whose first hop is the OR under test.
final class TestCircuit {
    let peer: TestPeer
    let id: UInt32
    private let forward: HopCipher
    private let backward: HopCipher

    /// What a client hears from the OR.
    enum Heard: Equatable {
        case message(RelayCommand, UInt16, [UInt8] = [])
        case destroy(DestroyReason)
        /// A cell that the OR did not originate.
        case other
    }

    init(_ peer: TestPeer, _ id: UInt32, _ keys: CircuitKeys) {
        self.peer = peer
        self.id = id
        self.forward = keys.makeForward()
        self.backward = keys.makeBackward()
    }

    struct Message {
        var command: RelayCommand
        var stream: UInt16 = 0
        var data: [UInt8] = []

        static func begin(_ stream: UInt16, _ target: Begin.Target = .host("93.184.216.34", port: 80)) -> Message {
            var data = ByteBuffer()
            Begin(target: target).write(to: &data)
            return Message(command: .begin, stream: stream, data: Array(buffer: data))
        }

        static func resolve(_ stream: UInt16, _ name: String = "heron.test") -> Message {
            var data = ByteBuffer()
            Resolve.addresses(of: name).write(to: &data)
            return Message(command: .resolve, stream: stream, data: Array(buffer: data))
        }

        static func end(_ stream: UInt16, _ reason: EndReason = .unspecified) -> Message {
            Message(command: .end, stream: stream, data: [reason.rawValue])
        }

        static func extend(to router: ListedRouter) -> Message {
            Message(command: .extend, data: router.identity.publicKey.rawBytes + ListedRouter.create)
        }

        static let drop = Message(command: .drop)
    }

    /// A cell for the OR with these messages.
    func cell(_ messages: [Message], as command: CellCommand = .relay) -> TestCell {
        self.cell(messages, as: command) { [forward] body in
            _ = ClientCipher.originate([forward], target: 0, command: command.rawValue, body: &body)
        }
    }

    /// A cell that is not for the OR, but would hold these messages if it were.
    func strangeCell(_ messages: [Message], as command: CellCommand = .relay) -> TestCell {
        self.cell(messages, as: command) { [forward] body in
            forward.forwardAtClient(command: command.rawValue, body: &body)
        }
    }

    private func cell(
        _ messages: [Message], as command: CellCommand, encrypt: (inout MutableRawSpan) -> Void
    ) -> TestCell {
        var buffer = ByteBuffer()
        buffer.appendCell { cell in
            cell.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) }
            CellHeader(circuitID: CircuitID(rawValue: self.id), command: command).write(to: &cell)
            var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            var payload = body._mutatingExtracting(Cell.tagByteCount..<Cell.bodyByteCount)
            var writer = RelayMessageWriter(leavesUnguessableTail: false)
            for message in messages {
                writer.append(
                    message.command, streamID: StreamID(rawValue: message.stream), data: message.data.span.bytes,
                    into: &payload)
            }
            encrypt(&body)
        }
        return TestCell(bytes: Array(buffer: buffer))
    }

    /// Say messages in one cell.
    func say(_ messages: Message..., as command: CellCommand = .relay) {
        self.peer.say(self.cell(messages, as: command))
    }

    /// What the OR, or those behind it, have said on this circuit since the last call.
    func hear() -> [Heard] {
        self.peer.hear(circuit: self.id).flatMap { cell -> [Heard] in
            switch cell.command {
            case .destroy: return [.destroy(DestroyReason(wire: cell.body.first ?? 0))]
            case .relay: return self.opened(cell)
            default: return [.other]
            }
        }
    }

    private func opened(_ cell: TestCell) -> [Heard] {
        var buffer = ByteBuffer()
        var heard: [Heard] = []
        buffer.appendCell { span in
            span.withUnsafeMutableBytes { $0.copyBytes(from: cell.bytes) }
            var body = span._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
            let tag = self.backward.backwardAtClient(command: CellCommand.relay.rawValue, body: &body)
            guard tag != nil else { return heard = [.other] }
            let payload = body.bytes.extracting(Cell.tagByteCount..<Cell.bodyByteCount)
            var walker = RelayMessageWalker()
            while let message = try? walker.next(in: payload) {
                // What a data message or an Extended says is not looked at.
                let isLong = message.data.count > 16
                let data = payload.extracting(message.data).withUnsafeBytes { isLong ? [] : [UInt8]($0) }
                heard.append(.message(message.command, message.streamID.rawValue, data))
            }
        }
        return heard
    }
}

/// Loops for which each counts.
final class TestLoops: EventLoopGroup {
    private let loops: [any EventLoop]

    init(_ loops: [any EventLoop]) { self.loops = loops }

    func next() -> any EventLoop { self.loops[0] }
    func makeIterator() -> EventLoopIterator { EventLoopIterator(self.loops) }
    func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        queue.async { callback(nil) }
    }
}
