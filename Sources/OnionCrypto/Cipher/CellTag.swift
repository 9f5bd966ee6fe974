/// The tag of a relay cell: 16 bytes that the ends of a circuit agree on for every cell that one sent and the other
/// recognised. A SendMe acknowledges a cell by it.
///
/// On the wire it is `high`, then `low`, each big-endian.
///
/// - Source: DESIGN §6.2, §6.3; Tor proposal 359.
public struct CellTag: Hashable, Sendable {
    /// Length on the wire.
    public static let byteCount = 16

    /// The first eight bytes.
    public let high: UInt64

    /// The last eight bytes.
    public let low: UInt64

    /// Takes a tag as two big-endian words, in the order of the wire.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Takes a tag from its bytes; nil unless there are exactly 16.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        func word(_ bytes: some Sequence<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        self.init(high: word(bytes.prefix(8)), low: word(bytes.dropFirst(8)))
    }

    /// Takes a tag from where it lies in a cell; nil unless there are exactly 16 bytes.
    public init?(_ bytes: RawSpan) {
        guard bytes.byteCount == Self.byteCount else { return nil }
        self.init(
            high: UInt64(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self)),
            low: UInt64(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }

    /// The 16 bytes.
    public var bytes: [UInt8] {
        [self.high, self.low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
    }

    /// Compares in constant time: a peer that guesses tags learns nothing from how long a refusal takes.
    public static func == (one: CellTag, other: CellTag) -> Bool {
        ((one.high ^ other.high) | (one.low ^ other.low)) == 0
    }
}
