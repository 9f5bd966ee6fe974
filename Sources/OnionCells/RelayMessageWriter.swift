/// Packs relay messages into one cell's payload, in place. See ``RelayMessageWalker`` for the layout.
public struct RelayMessageWriter: Sendable {
    /// What a cell that completes a SendMe increment leaves free: command 0 and 16 random bytes.
    public static let unguessableTailByteCount = 17

    /// Bytes of the payload that are used so far.
    public private(set) var offset = 0
    private let limit: Int

    /// - Parameter leavesUnguessableTail: whether the cell's tag must not be computable by the other end before it
    ///   has the cell (DESIGN §7).
    public init(leavesUnguessableTail: Bool) {
        self.limit = Cell.payloadByteCount - (leavesUnguessableTail ? Self.unguessableTailByteCount : 0)
    }

    /// Data bytes that one more message can carry; negative when not even a header fits.
    public var room: Int { self.limit - self.offset - RelayMessageHeader.byteCount }
    public var isEmpty: Bool { self.offset == 0 }

    /// Append a message.
    ///
    /// - Precondition: `data.byteCount <= room`.
    public mutating func append(
        _ command: RelayCommand, streamID: StreamID, data: RawSpan, into payload: inout MutableRawSpan
    ) {
        precondition(data.byteCount <= self.room, "the caller asks for room first")
        payload.storeBytes(of: command.rawValue, toByteOffset: self.offset, as: UInt8.self)
        payload.storeBytes(of: streamID.rawValue.bigEndian, toByteOffset: self.offset + 1, as: UInt16.self)
        payload.storeBytes(of: UInt16(data.byteCount).bigEndian, toByteOffset: self.offset + 3, as: UInt16.self)
        let start = self.offset + RelayMessageHeader.byteCount
        var target = payload._mutatingExtracting(start..<start + data.byteCount)
        target.copyBytes(from: data)
        self.offset = start + data.byteCount
    }

    /// Return the range that is left for random padding, after writing the command 0 that ends the messages; nil when
    /// the payload is full.
    public mutating func finish(_ payload: inout MutableRawSpan) -> Range<Int>? {
        guard self.offset < payload.byteCount else { return nil }
        payload.storeBytes(of: 0, toByteOffset: self.offset, as: UInt8.self)
        return self.offset + 1..<payload.byteCount
    }
}

extension MutableRawSpan {
    /// Copy all of `source` to the front.
    mutating func copyBytes(from source: RawSpan) {
        precondition(source.byteCount <= self.byteCount)
        self.withUnsafeMutableBytes { target in
            source.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: target[..<$0.count]).copyMemory(from: $0) }
        }
    }
}
