public import NIOCore
import OnionCrypto

/// The types of directory frame: their numbers, how long a body may be, and who is sent them.
public enum DirectoryFrameType: UInt8, CaseIterable, Hashable, Sendable {
    case hello = 1
    case register = 2
    case registered = 3
    case heartbeat = 4
    case heartbeatAck = 5
    case getConsensus = 6
    case consensus = 7
    case notModified = 8
    case getTicket = 9
    case ticket = 10
    case error = 11

    /// The longest body, in bytes.
    public var bodyLimit: Int {
        switch self {
        case .hello: DirectoryHello.byteCount
        case .register: DirectoryLimits.descriptorByteCount
        case .registered, .heartbeatAck: 16
        case .heartbeat: 24
        case .getConsensus, .notModified: 8
        case .consensus: DirectoryLimits.consensusByteCount
        case .getTicket: Bytes32.byteCount
        case .ticket: PathTicket.byteCount
        case .error: 2 + DirectoryLimits.errorTextByteCount
        }
    }

    /// Whether the side may be sent it. The directory never takes a large frame from anybody.
    public func isSent(to receiver: DirectorySide) -> Bool {
        switch self {
        case .register, .heartbeat, .getConsensus, .getTicket: receiver == .directory
        case .hello, .registered, .heartbeatAck, .consensus, .notModified, .ticket, .error: receiver == .participant
        }
    }
}

/// The two ends of a directory connection.
public enum DirectorySide: Hashable, Sendable {
    /// The directory server.
    case directory
    /// An OR or a proxy.
    case participant
}

/// Turns a stream of bytes into messages, and messages into bytes.
///
///     offset  size    field
///     0       4       length of the body
///     4       1       type
///     5       length  body
///
/// | type | body |
/// | --- | --- |
/// | 1 Hello | signed ``DirectoryHello`` |
/// | 2 Register | signed ``RouterDescriptor`` |
/// | 3 Registered | descriptor sequence u64, revision u64 |
/// | 4 Heartbeat | counter u64, circuits u32, streams u32, bytes a second u64 |
/// | 5 HeartbeatAck | counter u64, newest revision u64 |
/// | 6 GetConsensus | revision that the asker has u64, or 0 |
/// | 7 Consensus | signed ``Consensus`` |
/// | 8 NotModified | newest revision u64 |
/// | 9 GetTicket | commitment, 32 bytes |
/// | 10 Ticket | signed ``PathTicket`` |
/// | 11 Error | code u16, text in UTF-8, at most 512 bytes |
///
/// A length past the type's limit is refused as soon as the header is there. Nothing can be read after an error: close the connection.
public struct DirectoryFrameDecoder: Sendable {
    /// Length and type.
    public static let headerByteCount = 5

    private let receiver: DirectorySide
    private var buffer = ByteBuffer()
    private var failure: DirectoryError?

    /// - Parameter receiver: which side reads; frames that it is never sent are refused.
    public init(receiver: DirectorySide) { self.receiver = receiver }

    /// Bytes that have come and are not yet a message.
    public var bufferedByteCount: Int { self.buffer.readableBytes }

    /// Add what has come.
    public mutating func append(_ bytes: ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.discardReadBytes()
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// Return the next whole message, or nil until more has come.
    ///
    /// - Throws: ``DirectoryError``; the same again at every later call.
    public mutating func next() throws(DirectoryError) -> DirectoryMessage? {
        if let failure { throw failure }
        do {
            return try self.readMessage()
        } catch {
            self.failure = error
            self.buffer = ByteBuffer()
            throw error
        }
    }

    private mutating func readMessage() throws(DirectoryError) -> DirectoryMessage? {
        let start = self.buffer.readerIndex
        guard let length = self.buffer.getInteger(at: start, as: UInt32.self),
            let rawType = self.buffer.getInteger(at: start + 4, as: UInt8.self)
        else { return nil }
        guard let type = DirectoryFrameType(rawValue: rawType) else { throw .unknownFrame(rawType) }
        guard type.isSent(to: self.receiver) else { throw .unexpectedFrame(type) }
        guard let byteCount = Int(exactly: length), byteCount <= type.bodyLimit else {
            throw .frameTooLong(type: rawType, byteCount: Int(clamping: length), limit: type.bodyLimit)
        }
        guard self.buffer.readableBytes >= Self.headerByteCount + byteCount else { return nil }
        self.buffer.moveReaderIndex(forwardBy: Self.headerByteCount)
        guard let body = self.buffer.readSlice(length: byteCount) else { return nil }
        return try DirectoryMessage(type: type, body: body)
    }
}

extension DirectoryMessage {
    /// Read a frame's body.
    init(type: DirectoryFrameType, body: ByteBuffer) throws(DirectoryError) {
        var body = body
        switch type {
        case .hello: self = .hello(body.readAll())
        case .register: self = .register(body.readAll())
        case .registered: self = .registered(sequence: try body.readField(), revision: try body.readField())
        case .heartbeat:
            let counter = try body.readField(UInt64.self)
            self = .heartbeat(
                counter: counter,
                load: RouterLoad(
                    circuitCount: try body.readField(), streamCount: try body.readField(),
                    bytesPerSecond: try body.readField()))
        case .heartbeatAck: self = .heartbeatAck(counter: try body.readField(), revision: try body.readField())
        case .getConsensus: self = .getConsensus(haveRevision: try body.readField())
        case .consensus: self = .consensus(body.readAll())
        case .notModified: self = .notModified(revision: try body.readField())
        case .getTicket: self = .getTicket(commitment: try body.readBytes32())
        case .ticket: self = .ticket(body.readAll())
        case .error:
            let code = DirectoryErrorCode(wire: try body.readField())
            guard let text = String(validating: body.readAll(), as: UTF8.self) else { throw .invalidField(.errorText) }
            self = .error(code, text: text)
        }
    }

    /// Write the whole frame, header included. The text of an error is cut to its limit.
    ///
    /// - Throws: ``DirectoryError/frameTooLong(type:byteCount:limit:)`` for a document that is too long to be sent.
    public func write(to buffer: inout ByteBuffer) throws(DirectoryError) {
        let type = self.frameType
        var body = ByteBuffer()
        switch self {
        case .hello(let bytes), .register(let bytes), .consensus(let bytes), .ticket(let bytes): body.writeBytes(bytes)
        case .registered(let first, let second), .heartbeatAck(let first, let second):
            body.writeMultipleIntegers(first, second)
        case .heartbeat(let counter, let load):
            body.writeMultipleIntegers(counter, load.circuitCount, load.streamCount, load.bytesPerSecond)
        case .getConsensus(let revision), .notModified(let revision): body.writeInteger(revision)
        case .getTicket(let commitment): body.writeBytes32(commitment)
        case .error(let code, let text):
            body.writeInteger(code.rawValue)
            body.writeString(text.cut(toByteCount: DirectoryLimits.errorTextByteCount))
        }
        guard body.readableBytes <= type.bodyLimit, let length = UInt32(exactly: body.readableBytes) else {
            throw .frameTooLong(type: type.rawValue, byteCount: body.readableBytes, limit: type.bodyLimit)
        }
        buffer.writeMultipleIntegers(length, type.rawValue)
        buffer.writeImmutableBuffer(body)
    }
}

extension ByteBuffer {
    fileprivate mutating func readAll() -> [UInt8] { self.readBytes(length: self.readableBytes) ?? [] }
}

extension String {
    /// The longest beginning, in whole characters, of at most so many bytes.
    fileprivate func cut(toByteCount limit: Int) -> String {
        var result = self
        while result.utf8.count > limit { result.removeLast() }
        return result
    }
}
