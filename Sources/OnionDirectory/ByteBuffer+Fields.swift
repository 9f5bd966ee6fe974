import NIOCore
import OnionAddress
import OnionCrypto

extension ByteBuffer {
    /// Read a big-endian integer or throw how much is missing.
    mutating func readField<I: FixedWidthInteger>(_ type: I.Type = I.self) throws(DirectoryError) -> I {
        let have = self.readableBytes
        guard let value = self.readInteger(as: I.self) else { throw .truncated(need: I.bitWidth / 8, have: have) }
        return value
    }

    /// Read `byteCount` bytes or throw how many are missing.
    mutating func readField(byteCount: Int) throws(DirectoryError) -> [UInt8] {
        let have = self.readableBytes
        guard let bytes = self.readBytes(length: byteCount) else { throw .truncated(need: byteCount, have: have) }
        return bytes
    }

    /// Read 32 bytes.
    mutating func readBytes32() throws(DirectoryError) -> Bytes32 {
        let have = self.readableBytes
        guard let bytes = self.readBytes(length: Bytes32.byteCount).flatMap({ Bytes32($0) }) else {
            throw .truncated(need: Bytes32.byteCount, have: have)
        }
        return bytes
    }

    /// Read an identity, link or directory key.
    mutating func readSigningKey() throws(DirectoryError) -> Ed25519PublicKey {
        Ed25519PublicKey(try self.readBytes32())
    }

    /// Read text: length u8, then so many bytes of UTF-8.
    mutating func readText(_ field: DirectoryField, limit: Int) throws(DirectoryError) -> String {
        let byteCount = Int(try self.readField(UInt8.self))
        guard byteCount <= limit else { throw .limitExceeded(field, have: byteCount, limit: limit) }
        guard let text = String(validating: try self.readField(byteCount: byteCount), as: UTF8.self) else {
            throw .invalidField(field)
        }
        return text
    }

    /// Write text that is known to have at most 255 bytes: length u8, then the bytes.
    mutating func writeText(_ text: String) {
        let bytes = Array(text.utf8.prefix(255))
        self.writeInteger(UInt8(truncatingIfNeeded: bytes.count))
        self.writeBytes(bytes)
    }

    /// Read a count u8 that may not pass its limit.
    mutating func readCount(_ field: DirectoryField, limit: Int) throws(DirectoryError) -> Int {
        let count = Int(try self.readField(UInt8.self))
        guard count <= limit else { throw .limitExceeded(field, have: count, limit: limit) }
        return count
    }

    /// Read an address and port of a node.
    mutating func readNodeEndpoint() throws(DirectoryError) -> Endpoint {
        let have = self.readableBytes
        do { return try self.readEndpoint() } catch {
            switch error {
            case .truncated: throw .truncated(need: have + 1, have: have)
            case .unknownType: throw .invalidField(.addresses)
            }
        }
    }

    mutating func writeBytes32(_ bytes: Bytes32) {
        bytes.withUnsafeBytes { _ = self.writeBytes($0) }
    }

    /// Throw if there is more than the document has fields for.
    func expectEnd() throws(DirectoryError) {
        guard self.readableBytes == 0 else { throw .trailingBytes(self.readableBytes) }
    }
}

extension Sequence {
    /// Whether every element is greater than the one before it.
    func isStrictlyAscending(by isLess: (Element, Element) -> Bool) -> Bool {
        zip(self, self.dropFirst()).allSatisfy { isLess($0, $1) }
    }
}
