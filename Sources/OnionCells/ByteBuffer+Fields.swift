package import NIOCore
package import OnionAddress

extension ByteBuffer {
    /// Read a big-endian integer or throw how much is missing.
    package mutating func readOrThrow<I: FixedWidthInteger>(_ type: I.Type) throws(CellError) -> I {
        let have = self.readableBytes
        guard let value = self.readInteger(as: I.self) else {
            throw .truncated(need: I.bitWidth / 8, have: have)
        }
        return value
    }

    /// Read `byteCount` bytes or throw how many are missing.
    package mutating func readBytesOrThrow(_ byteCount: Int) throws(CellError) -> [UInt8] {
        let have = self.readableBytes
        guard let bytes = self.readBytes(length: byteCount) else { throw .truncated(need: byteCount, have: have) }
        return bytes
    }

    /// Read an address: type u8 (4 or 6), then 4 or 16 bytes.
    package mutating func readAddress() throws(CellError) -> IPAddress {
        do throws(AddressError) { return try self.readIPAddress() } catch { throw .invalidField(.address) }
    }

    /// Throw if there is more than the message has fields for.
    package func expectEnd() throws(CellError) {
        guard self.readableBytes == 0 else { throw .trailingBytes(self.readableBytes) }
    }
}
