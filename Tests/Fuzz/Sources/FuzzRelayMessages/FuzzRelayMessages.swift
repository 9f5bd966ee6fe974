import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto

/// The messages of a relay cell: the walk over them, every message's data, and the input as the data of one message.
/// What is accepted must come back the same.
enum FuzzRelayMessages {
    /// Returns whether the bytes are a cell of which every message was taken, or one message's data.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var isAccepted = Self.feedCell(bytes)
        let data = ByteBuffer(bytes: bytes)
        for command in [RelayCommand.begin, .connected, .extend, .resolve, .resolved] {
            isAccepted = Self.decode(command, data) || isAccepted
        }
        return isAccepted
    }

    private static func feedCell(_ bytes: [UInt8]) -> Bool {
        var walker = RelayMessageWalker()
        var end = 0
        var refusedCount = 0
        do {
            while let header = try walker.next(in: bytes.span.bytes) {
                precondition(
                    header.data.lowerBound == end + RelayMessageHeader.byteCount, "messages do not follow each other")
                precondition(header.data.upperBound <= bytes.count, "a message reaches past its cell")
                end = header.data.upperBound
                if !Self.decode(header.command, ByteBuffer(bytes: bytes[header.data])) { refusedCount += 1 }
            }
        } catch { return false }
        return end > 0 && refusedCount == 0
    }

    /// Decode `data` as one message; true if it was taken, or has no form of its own.
    private static func decode(_ command: RelayCommand, _ data: ByteBuffer) -> Bool {
        switch command {
        case .begin: Self.again(data, { try Begin(data: $0) }, Begin.write)
        case .connected: Self.again(data, { try Connected(data: $0) }, Connected.write)
        case .extend: Self.again(data, { try Extend(data: $0) }, Extend.write)
        case .resolve: Self.again(data, { try Resolve(data: $0) }, Resolve.write)
        case .resolved: Self.again(data, { try Resolved(data: $0) }, Resolved.write)
        case .data, .end, .sendMe, .xOff, .xOn, .extended, .truncated, .drop: true
        }
    }

    private static func again<Message: Equatable>(
        _ data: ByteBuffer, _ read: (ByteBuffer) throws -> Message, _ write: (Message) -> (inout ByteBuffer) -> Void
    ) -> Bool {
        guard let message = try? read(data) else { return false }
        var buffer = ByteBuffer()
        write(message)(&buffer)
        precondition((try? read(buffer)) == message, "a message changed")
        return true
    }

    static var seeds: [[UInt8]] {
        let address = IPAddress.v6(hi: 0x2a00_0001_0000_0000, lo: 1)
        let messages: [(RelayCommand, UInt16, [UInt8])] = [
            (.begin, 1, Self.encoded(Begin(target: .host("example.org", port: 443)).write)),
            (.data, 1, Array("GET / HTTP/1.1\r\n\r\n".utf8)),
            (.begin, 2, Self.encoded(Begin(target: .directory).write)),
            (.connected, 1, Self.encoded(Connected(address: .v4(0x0506_0708), ttlSeconds: 60).write)),
            (.connected, 2, Self.encoded(Connected(address: address, ttlSeconds: 0).write)),
            (.resolve, 3, Self.encoded(Resolve.addresses(of: "example.org").write)),
            (.resolve, 4, Self.encoded(Resolve.name(of: address).write)),
            (
                .resolved, 3,
                Self.encoded(
                    Resolved.answers([
                        .init(.address(.v4(0x0506_0708)), ttlSeconds: 60), .init(.address(address), ttlSeconds: 1),
                        .init(.name("example.org"), ttlSeconds: .max),
                    ]).write)
            ),
            (.resolved, 4, Self.encoded(Resolved.failed(.noSuchName).write)), (.end, 1, [1]), (.end, 2, [9]),
            (.sendMe, 0, [UInt8](repeating: 7, count: 16)), (.xOff, 1, []), (.xOn, 1, [0, 0, 4, 0]),
            (.truncated, 0, [4]), (.drop, 0, [1, 2, 3]), (.extended, 0, [UInt8](repeating: 3, count: 40)),
            (
                .extend, 0,
                Self.encoded(Extend(identity: Ed25519PublicKey(.zero), create: [UInt8](repeating: 2, count: 64)).write)
            ),
        ]
        let alone = messages.map(\.2).filter { Self.feed($0) }
        return alone + [
            Self.cell(messages, byteCount: Cell.payloadByteCount), Self.cell(messages.prefix(2), byteCount: 64),
            Self.cell(messages.filter { $0.0.isFlowControl }, byteCount: 40),
            Self.cell(messages.filter { $0.0 == .connected || $0.0 == .end }, byteCount: 62),
        ]
    }

    private static func encoded(_ write: (inout ByteBuffer) -> Void) -> [UInt8] {
        var buffer = ByteBuffer()
        write(&buffer)
        return Array(buffer: buffer)
    }

    private static func cell(_ messages: some Sequence<(RelayCommand, UInt16, [UInt8])>, byteCount: Int) -> [UInt8] {
        var payload = [UInt8](repeating: 0xaa, count: Cell.payloadByteCount)
        var writer = RelayMessageWriter(leavesUnguessableTail: false)
        var span = payload.mutableSpan
        var bytes = span.mutableBytes
        for (command, id, data) in messages {
            writer.append(command, streamID: StreamID(rawValue: id), data: data.span.bytes, into: &bytes)
        }
        _ = writer.finish(&bytes)
        return Array(payload.prefix(byteCount))
    }
}
