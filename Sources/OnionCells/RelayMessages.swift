public import NIOCore
public import OnionAddress
public import OnionCrypto

/// The data of a Begin: where the exit is asked to connect to.
///
///     offset  size  field
///     0       1     flags: bit 0 a stream to the directory server (port 0 and no host)
///     1       2     port, big-endian
///     3       …     host: UTF-8 name or address literal, 1–255 bytes
public struct Begin: Equatable, Sendable {
    public enum Target: Equatable, Sendable {
        case directory
        case host(String, port: UInt16)
    }
    public var target: Target

    /// The longest host, in bytes: SOCKS5 and DNS allow no more.
    public static let maximumHostByteCount = 255
    static let directoryFlag: UInt8 = 1

    public init(target: Target) { self.target = target }

    public init(data: ByteBuffer) throws(CellError) {
        var data = data
        let flags = try data.readOrThrow(UInt8.self)
        let port = try data.readOrThrow(UInt16.self)
        switch flags {
        case Self.directoryFlag:
            guard port == 0 else { throw .invalidField(.port) }
            try data.expectEnd()
            self.target = .directory
        case 0:
            guard port != 0 else { throw .invalidField(.port) }
            self.target = .host(try data.readHost(), port: port)
        default: throw .invalidField(.flags)
        }
    }

    public func write(to buffer: inout ByteBuffer) {
        switch self.target {
        case .directory: buffer.writeMultipleIntegers(Self.directoryFlag, UInt16(0))
        case .host(let host, let port):
            buffer.writeMultipleIntegers(UInt8(0), port)
            buffer.writeString(host)
        }
    }

    /// Whether `host` can be asked for at all: 1–255 bytes and no NUL.
    public static func isValidHost(_ host: String) -> Bool {
        let bytes = host.utf8
        return !bytes.isEmpty && bytes.count <= Self.maximumHostByteCount && !bytes.contains(0)
    }
}

/// The data of a Connected: where the exit did connect to, and for how long the name's answer holds.
///
///     offset  size  field
///     0       1     address type 4 or 6
///     1       4/16  address
///     …       4     TTL in seconds, big-endian
public struct Connected: Equatable, Sendable {
    public var address: IPAddress
    public var ttlSeconds: UInt32

    public init(address: IPAddress, ttlSeconds: UInt32) {
        self.address = address
        self.ttlSeconds = ttlSeconds
    }

    public init(data: ByteBuffer) throws(CellError) {
        var data = data
        self.address = try data.readAddress()
        self.ttlSeconds = try data.readOrThrow(UInt32.self)
        try data.expectEnd()
    }

    public func write(to buffer: inout ByteBuffer) {
        buffer.writeIPAddress(self.address)
        buffer.writeInteger(self.ttlSeconds)
    }
}

/// The data of an Extend: who is next, and the Create bytes for it. No address: the OR takes it from its consensus.
///
///     offset  size  field
///     0       32    identity of the next OR
///     32      …     Create bytes, exactly as they go into the Create cell
public struct Extend: Equatable, Sendable {
    public var identity: Ed25519PublicKey
    public var create: [UInt8]

    public init(identity: Ed25519PublicKey, create: [UInt8]) {
        self.identity = identity
        self.create = create
    }

    public init(data: ByteBuffer) throws(CellError) {
        var data = data
        guard let identity = Ed25519PublicKey(rawBytes: try data.readBytesOrThrow(32)) else {
            throw .invalidField(.handshake)
        }
        self.identity = identity
        self.create = Array(buffer: data)
        guard !self.create.isEmpty, self.create.count <= Cell.bodyByteCount else { throw .invalidField(.handshake) }
    }

    public func write(to buffer: inout ByteBuffer) {
        buffer.writeBytes(self.identity.rawBytes)
        buffer.writeBytes(self.create)
    }
}

/// The data of a Resolve: a name whose addresses, or an address whose name, the exit is asked for.
///
///     offset  size  field
///     0       1     type: 1 addresses of a name, 2 name of an address
///     1       …     the name (1–255 bytes), or address type and address
public enum Resolve: Equatable, Sendable {
    case addresses(of: String)
    case name(of: IPAddress)

    public init(data: ByteBuffer) throws(CellError) {
        var data = data
        switch try data.readOrThrow(UInt8.self) {
        case 1: self = .addresses(of: try data.readHost())
        case 2:
            self = .name(of: try data.readAddress())
            try data.expectEnd()
        default: throw .invalidField(.resolveType)
        }
    }

    public func write(to buffer: inout ByteBuffer) {
        switch self {
        case .addresses(let name):
            buffer.writeInteger(UInt8(1))
            buffer.writeString(name)
        case .name(let address):
            buffer.writeInteger(UInt8(2))
            buffer.writeIPAddress(address)
        }
    }
}

/// The data of a Resolved: answers, or why there are none.
///
///     offset  size  field
///     0       1     0, or an End reason: then nothing follows
///     1       1     number of answers, 1–16
///     2       …     answers, each: type u8 (4, 6, or 1 for a name) | 4 or 16 bytes, or length u8 and name | TTL u32
public enum Resolved: Equatable, Sendable {
    case answers([Answer])
    case failed(EndReason)

    public struct Answer: Equatable, Sendable {
        public enum Value: Equatable, Sendable { case address(IPAddress), name(String) }
        public var value: Value
        public var ttlSeconds: UInt32

        public init(_ value: Value, ttlSeconds: UInt32) {
            self.value = value
            self.ttlSeconds = ttlSeconds
        }
    }

    /// More answers than a client can use are cut off.
    public static let maximumAnswerCount = 16

    private static let nameType: UInt8 = 1

    public init(data: ByteBuffer) throws(CellError) {
        var data = data
        let reason = try data.readOrThrow(UInt8.self)
        guard reason == 0 else {
            try data.expectEnd()
            self = .failed(EndReason(rawValue: reason) ?? .resolveFailed)
            return
        }
        let count = Int(try data.readOrThrow(UInt8.self))
        guard (1...Self.maximumAnswerCount).contains(count) else { throw .invalidField(.answerCount) }
        var answers: [Answer] = []
        for _ in 0..<count {
            let value: Answer.Value
            if data.getInteger(at: data.readerIndex, as: UInt8.self) == Self.nameType {
                data.moveReaderIndex(forwardBy: 1)
                let byteCount = Int(try data.readOrThrow(UInt8.self))
                let bytes = try data.readBytesOrThrow(byteCount)
                guard let name = String(validating: bytes, as: UTF8.self), Begin.isValidHost(name) else {
                    throw .invalidField(.host)
                }
                value = .name(name)
            } else {
                value = .address(try data.readAddress())
            }
            answers.append(Answer(value, ttlSeconds: try data.readOrThrow(UInt32.self)))
        }
        try data.expectEnd()
        self = .answers(answers)
    }

    /// The first answers that fit a message in any cell, also in one that leaves an unguessable tail.
    private static func fitting(_ answers: [Answer]) -> ArraySlice<Answer> {
        let limit = RelayMessageHeader.maximumDataByteCount - RelayMessageWriter.unguessableTailByteCount
        var byteCount = 2
        return answers.prefix(Self.maximumAnswerCount).prefix { answer in
            switch answer.value {
            case .address: byteCount += 1 + 16 + 4
            case .name(let name): byteCount += 2 + min(name.utf8.count, Begin.maximumHostByteCount) + 4
            }
            return byteCount <= limit
        }
    }

    /// Append the fields. Of more answers than fit, the first are kept; of none, that there is no such name.
    public func write(to buffer: inout ByteBuffer) {
        switch self {
        // The number of `unspecified` is the one that means success here.
        case .failed(let reason):
            buffer.writeInteger((reason == .unspecified ? EndReason.resolveFailed : reason).rawValue)
        case .answers(let answers):
            let kept = Self.fitting(answers)
            // An answer that says nothing would break the format.
            guard !kept.isEmpty else {
                buffer.writeInteger(EndReason.noSuchName.rawValue)
                return
            }
            buffer.writeMultipleIntegers(UInt8(0), UInt8(kept.count))
            for answer in kept {
                switch answer.value {
                case .address(let address): buffer.writeIPAddress(address)
                case .name(let name):
                    let bytes = name.utf8.prefix(Begin.maximumHostByteCount)
                    buffer.writeMultipleIntegers(Self.nameType, UInt8(bytes.count))
                    buffer.writeBytes(bytes)
                }
                buffer.writeInteger(answer.ttlSeconds)
            }
        }
    }
}

extension ByteBuffer {
    /// Read the rest as a host name or address literal.
    fileprivate mutating func readHost() throws(CellError) -> String {
        let bytes = try self.readBytesOrThrow(self.readableBytes)
        guard let host = String(validating: bytes, as: UTF8.self), Begin.isValidHost(host) else {
            throw .invalidField(.host)
        }
        return host
    }
}
