import NIOCore
import OnionCrypto
import Testing

extension NIODeadline {
    /// A time well after the epoch, so that tests may also go back.
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
}

/// Tags that tests tell apart by number.
func tag(_ number: Int) -> CellTag { CellTag(high: 0, low: UInt64(number)) }

/// An identity for tests; any 32 bytes will do.
func identity(_ number: UInt8) throws -> Ed25519PublicKey {
    try #require(Ed25519PublicKey(rawBytes: [UInt8](repeating: number, count: 32)))
}
