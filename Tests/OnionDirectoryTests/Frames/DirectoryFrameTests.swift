import NIOCore
import OnionCrypto
import OnionDirectory
import TestSupport
import Testing

@Suite("Directory frames")
struct DirectoryFrameTests {
    static let toDirectory: [DirectoryMessage] = [
        .register([1, 2, 3]), .getConsensus(haveRevision: .max), .getTicket(commitment: Make.bytes32(5)),
        .heartbeat(counter: 9, load: RouterLoad(circuitCount: 1, streamCount: 2, bytesPerSecond: 3)),
    ]
    static let toParticipant: [DirectoryMessage] = [
        .hello([1]), .registered(sequence: 4, revision: 5), .heartbeatAck(counter: 9, revision: 10),
        .consensus(Array(repeating: 8, count: 70_000)), .notModified(revision: 11), .ticket([6]),
        .error(.busy, text: "später"),
        .error(.notAllowed, text: ""),
    ]

    private func encode(_ messages: [DirectoryMessage]) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        for message in messages { try message.write(to: &buffer) }
        return buffer
    }

    @Test(
        "every message comes out as it went in, however the bytes are cut",
        arguments: [1, 2, 5, 7, 100, 65_536, 1_000_000])
    func splits(size: Int) throws {
        for (side, messages) in [(DirectorySide.directory, Self.toDirectory), (.participant, Self.toParticipant)] {
            var bytes = try self.encode(messages)
            var decoder = DirectoryFrameDecoder(receiver: side)
            var received: [DirectoryMessage] = []
            while let part = bytes.readSlice(length: min(size, bytes.readableBytes)), part.readableBytes > 0 {
                decoder.append(part)
                while let message = try decoder.next() { received.append(message) }
            }
            #expect(received == messages)
            #expect(decoder.bufferedByteCount == 0)
        }
    }

    @Test("a side refuses frames that it is never sent, for good") func wrongSide() throws {
        for (side, messages) in [(DirectorySide.participant, Self.toDirectory), (.directory, Self.toParticipant)] {
            for message in messages {
                var decoder = DirectoryFrameDecoder(receiver: side)
                decoder.append(try self.encode([message]))
                #expect(throws: DirectoryError.unexpectedFrame(message.frameType)) { try decoder.next() }
                decoder.append(try self.encode([message]))
                #expect(throws: DirectoryError.unexpectedFrame(message.frameType)) { try decoder.next() }
            }
        }
    }

    @Test("a length past the type's limit is refused from the header alone", arguments: DirectoryFrameType.allCases)
    func limits(type: DirectoryFrameType) throws {
        let side: DirectorySide = type.isSent(to: .directory) ? .directory : .participant
        func decode(length: UInt32) throws -> DirectoryMessage? {
            var decoder = DirectoryFrameDecoder(receiver: side)
            var header = ByteBuffer()
            header.writeMultipleIntegers(length, type.rawValue)
            decoder.append(header)
            return try decoder.next()
        }
        #expect(try decode(length: UInt32(type.bodyLimit)) == nil)
        for length in [UInt32(type.bodyLimit) + 1, .max] {
            #expect(
                throws: DirectoryError.frameTooLong(type: type.rawValue, byteCount: Int(length), limit: type.bodyLimit)
            ) {
                try decode(length: length)
            }
        }
    }

    @Test("a body of another length than its fields is refused", arguments: DirectoryFrameType.allCases)
    func bodyLengths(type: DirectoryFrameType) throws {
        let sizes: [DirectoryFrameType: Int] = [
            .registered: 16, .heartbeat: 24, .heartbeatAck: 16, .getConsensus: 8, .notModified: 8, .getTicket: 32,
        ]
        guard let size = sizes[type] else { return }
        for length in 0..<size {
            var decoder = DirectoryFrameDecoder(receiver: type.isSent(to: .directory) ? .directory : .participant)
            var frame = ByteBuffer()
            frame.writeMultipleIntegers(UInt32(length), type.rawValue)
            frame.writeRepeatingByte(0, count: length)
            decoder.append(frame)
            #expect(throws: DirectoryError.self) { try decoder.next() }
        }
    }

    @Test("unknown types and text that is not UTF-8 are refused; unknown error codes say nothing") func others() throws
    {
        func decode(_ bytes: [UInt8]) throws -> DirectoryMessage? {
            var decoder = DirectoryFrameDecoder(receiver: .participant)
            decoder.append(ByteBuffer(bytes: bytes))
            return try decoder.next()
        }
        #expect(throws: DirectoryError.unknownFrame(0)) { try decode([0, 0, 0, 0, 0]) }
        #expect(throws: DirectoryError.unknownFrame(12)) { try decode([0, 0, 0, 0, 12]) }
        #expect(throws: DirectoryError.invalidField(.errorText)) { try decode([0, 0, 0, 3, 11, 0, 1, 0xff]) }
        #expect(throws: DirectoryError.truncated(need: 2, have: 1)) { try decode([0, 0, 0, 1, 11, 0]) }
        #expect(try decode([0, 0, 0, 2, 11, 0xff, 0xff]) == .error(.unspecified, text: ""))
        #expect(try decode([0, 0, 0, 0]) == nil)
        #expect(DirectoryErrorCode.allCases.allSatisfy { DirectoryErrorCode(wire: $0.rawValue) == $0 })
    }

    @Test("what is too long is not sent; an error's text is cut at a character") func sending() throws {
        var buffer = ByteBuffer()
        #expect(throws: DirectoryError.frameTooLong(type: 2, byteCount: 1_024, limit: 1_023)) {
            try DirectoryMessage.register(Array(repeating: 0, count: 1_024)).write(to: &buffer)
        }
        #expect(buffer.readableBytes == 0)
        try DirectoryMessage.error(.busy, text: String(repeating: "é", count: 300)).write(to: &buffer)
        var decoder = DirectoryFrameDecoder(receiver: .participant)
        decoder.append(buffer)
        #expect(try decoder.next() == .error(.busy, text: String(repeating: "é", count: 256)))
    }

    @Test("random bytes never trap", arguments: 0..<200 as Range<UInt64>) func noise(seed: UInt64) {
        var random = SplitMix64(seed)
        for side in [DirectorySide.directory, .participant] {
            var decoder = DirectoryFrameDecoder(receiver: side)
            for _ in 0..<20 {
                var part = ByteBuffer(integer: UInt32(truncatingIfNeeded: random.next() % 40))
                part.writeInteger(UInt8(truncatingIfNeeded: random.next() % 13))
                part.writeBytes(random.bytes32().bytes)
                decoder.append(part)
                while let message = try? decoder.next() { _ = message.frameType }
            }
        }
    }
}
