/// A cell or relay message that breaks the format.
public enum CellError: Error, Equatable, Sendable {
    /// A field ends past the bytes there are.
    case truncated(need: Int, have: Int)
    /// A relay message says it is longer than the rest of its cell.
    case lengthExceedsCell(Int)
    case unknownCommand(UInt8)
    /// Stream id 0 with a stream's command, or another with a circuit's.
    case wrongStreamID(command: UInt8, streamID: UInt16)
    /// Bytes after a handshake are not zero.
    case unusedBytesNotZero
    /// A field has a value that the format does not allow.
    case invalidField(Field)
    /// More bytes than the message has fields for.
    case trailingBytes(Int)

    public enum Field: String, Sendable {
        case host, flags, address, answerCount, resolveType, port, handshake
    }
}
