/// The fixed shape of a link cell, 2048 bytes, and where its parts lie.
///
///     offset  size  field
///     0       4     circuit id, big-endian
///     4       1     command
///     5       2043  body
///
/// - Source: DESIGN §5.1
public enum Cell {
    /// A whole cell on the wire, in bytes.
    public static let byteCount = 2048
    /// Circuit id and command.
    public static let headerByteCount = 5
    /// What the command carries; for a relay cell the onion, tag first.
    public static let bodyByteCount = 2043
    /// The tag in front of a relay cell's body.
    public static let tagByteCount = 16
    /// What is left of a relay cell's body for relay messages.
    public static let payloadByteCount = bodyByteCount - tagByteCount

    static let commandOffset = 4
}

/// A circuit's name on one link. The high bit is set by the side that dialled the link; 0 names the link itself.
public struct CircuitID: Hashable, Comparable, Sendable, RawRepresentable, CustomStringConvertible {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Cells about the link as a whole: NetInfo, Ping, Pong, Padding.
    public static let link = CircuitID(rawValue: 0)
    static let diallerBit: UInt32 = 0x8000_0000

    /// Whether the side that dialled the link chose this id.
    public var isAllocatedByDialler: Bool { self.rawValue & Self.diallerBit != 0 }
    public var description: String { String(self.rawValue, radix: 16) }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// Hands out circuit ids on one side of one link, each once.
///
/// - Source: DESIGN §5.1: ids are never reused on a link; when they are spent the link is retired.
public struct CircuitIDAllocator: Sendable {
    /// The id without its side bit.
    var next: UInt32 = 1
    private let sideBit: UInt32

    public init(isDialler: Bool) { self.sideBit = isDialler ? CircuitID.diallerBit : 0 }

    /// Return an id never returned before, or nil when all 2³¹ − 1 are spent.
    public mutating func allocate() -> CircuitID? {
        guard self.next < CircuitID.diallerBit else { return nil }
        defer { self.next += 1 }
        return CircuitID(rawValue: self.next | self.sideBit)
    }
}

/// What a link cell is for.
public enum CellCommand: UInt8, Sendable, CaseIterable {
    case padding = 0
    case create = 1
    case created = 2
    case relay = 3
    case relayEarly = 4
    case destroy = 5
    case netInfo = 6
    case ping = 7
    case pong = 8
}

/// The five bytes before a cell's body, as read: the command may be one that nobody knows.
public struct CellHeader: Equatable, Sendable {
    public var circuitID: CircuitID
    public var rawCommand: UInt8
    public var command: CellCommand? { CellCommand(rawValue: self.rawCommand) }

    public init(circuitID: CircuitID, command: CellCommand) {
        self.circuitID = circuitID
        self.rawCommand = command.rawValue
    }

    /// Read the header of the cell that `cell` holds.
    ///
    /// - Precondition: `cell` holds at least ``Cell/headerByteCount`` bytes.
    @inlinable
    public init(of cell: RawSpan) {
        self.circuitID = CircuitID(
            rawValue: UInt32(bigEndian: cell.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt32.self)))
        self.rawCommand = cell.unsafeLoadUnaligned(fromByteOffset: 4, as: UInt8.self)
    }

    /// Write the header over the first five bytes of `cell`.
    @inlinable
    public func write(to cell: inout MutableRawSpan) {
        cell.storeBytes(of: self.circuitID.rawValue.bigEndian, toByteOffset: 0, as: UInt32.self)
        cell.storeBytes(of: self.rawCommand, toByteOffset: 4, as: UInt8.self)
    }
}
