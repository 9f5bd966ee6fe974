/// A stream's name in one circuit. Only the client allocates them, each once; 0 is the circuit itself.
public struct StreamID: Hashable, Comparable, Sendable, RawRepresentable, CustomStringConvertible {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Messages about the circuit: SendMe, Extend, Extended, Truncated, Drop.
    public static let circuit = StreamID(rawValue: 0)
    public var description: String { String(self.rawValue) }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// What a relay message says.
///
/// - Source: DESIGN §6.3
public enum RelayCommand: UInt8, Sendable, CaseIterable {
    case begin = 1
    case connected = 2
    case data = 3
    case end = 4
    case sendMe = 5
    case xOff = 6
    case xOn = 7
    case extend = 8
    case extended = 9
    case truncated = 10
    case resolve = 11
    case resolved = 12
    case drop = 13

    /// Whether the message is about the circuit, so that its stream id must be 0.
    public var isAboutCircuit: Bool {
        switch self {
        case .sendMe, .extend, .extended, .truncated, .drop: true
        case .begin, .connected, .data, .end, .xOff, .xOn, .resolve, .resolved: false
        }
    }

    /// Whether a cell made only of such messages stays outside the congestion window.
    public var isFlowControl: Bool {
        switch self {
        case .sendMe, .xOff, .xOn: true
        case .begin, .connected, .data, .end, .extend, .extended, .truncated, .resolve, .resolved, .drop: false
        }
    }

    /// Whether only the client may send it.
    public var isForwardOnly: Bool {
        switch self {
        case .begin, .extend, .resolve: true
        case .connected, .data, .end, .sendMe, .xOff, .xOn, .extended, .truncated, .resolved, .drop: false
        }
    }

    /// Whether only an OR may send it.
    public var isBackwardOnly: Bool {
        switch self {
        case .connected, .extended, .truncated, .resolved: true
        case .begin, .data, .end, .sendMe, .xOff, .xOn, .extend, .resolve, .drop: false
        }
    }
}

/// Where a relay message lies in its cell's payload.
public struct RelayMessageHeader: Equatable, Sendable {
    /// Command, stream id, length.
    public static let byteCount = 5
    /// The longest data that a message can carry: one cell's payload less its header.
    public static let maximumDataByteCount = Cell.payloadByteCount - byteCount

    public var command: RelayCommand
    public var streamID: StreamID
    /// Range of the message's data in the payload it was read from.
    public var data: Range<Int>
}

/// Walks the relay messages in a recognised cell's payload, in place.
///
///     offset  size    field
///     0       1       command; 0 ends the messages, random padding follows
///     1       2       stream id, big-endian
///     3       2       length, big-endian
///     5       length  data
///
/// - Source: DESIGN §6.3
public struct RelayMessageWalker: Sendable {
    private var offset = 0

    public init() {}

    /// Return the next message in `payload`, or nil at command 0 or the payload's end.
    ///
    /// - Parameter payload: the cell's body after the tag; the same bytes at each call.
    /// - Throws: ``CellError`` for an unknown command, a length past the cell, a stream id that does not fit the
    ///   command, or a message whose header does not fit.
    public mutating func next(in payload: RawSpan) throws(CellError) -> RelayMessageHeader? {
        let left = payload.byteCount - self.offset
        guard left > 0 else { return nil }
        let rawCommand = payload.unsafeLoadUnaligned(fromByteOffset: self.offset, as: UInt8.self)
        guard rawCommand != 0 else { return nil }
        guard let command = RelayCommand(rawValue: rawCommand) else { throw .unknownCommand(rawCommand) }
        guard left >= RelayMessageHeader.byteCount else {
            throw .truncated(need: RelayMessageHeader.byteCount, have: left)
        }
        let streamID = UInt16(bigEndian: payload.unsafeLoadUnaligned(fromByteOffset: self.offset + 1, as: UInt16.self))
        let byteCount = Int(
            UInt16(bigEndian: payload.unsafeLoadUnaligned(fromByteOffset: self.offset + 3, as: UInt16.self)))
        guard byteCount <= left - RelayMessageHeader.byteCount else { throw .lengthExceedsCell(byteCount) }
        guard command.isAboutCircuit == (streamID == 0) else {
            throw .wrongStreamID(command: rawCommand, streamID: streamID)
        }
        let start = self.offset + RelayMessageHeader.byteCount
        self.offset = start + byteCount
        return RelayMessageHeader(
            command: command, streamID: StreamID(rawValue: streamID), data: start..<start + byteCount)
    }
}
