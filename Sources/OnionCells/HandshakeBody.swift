import OnionCrypto

/// The handshake bytes at the front of a Create or Created cell's body.
///
/// - Source: DESIGN §6.1: bytes after a handshake must be zero.
public enum HandshakeBody {
    /// Return exactly the Create bytes of a Create cell's body.
    public static func create(in body: RawSpan) throws(CellError) -> [UInt8] {
        try Self.prefix(of: body) { bytes throws(HandshakeError) in
            try CircuitHandshake.createByteCount(prefixOf: bytes)
        }
    }

    /// Return exactly the Created bytes of a Created cell's body.
    public static func created(in body: RawSpan) throws(CellError) -> [UInt8] {
        try Self.prefix(of: body) { bytes throws(HandshakeError) in
            try CircuitHandshake.createdByteCount(prefixOf: bytes)
        }
    }

    private static func prefix(
        of body: RawSpan, byteCount: ([UInt8]) throws(HandshakeError) -> Int
    ) throws(CellError) -> [UInt8] {
        let bytes = body.withUnsafeBytes { [UInt8]($0) }
        guard let count = try? byteCount(bytes) else { throw .invalidField(.handshake) }
        guard bytes[count...].allSatisfy({ $0 == 0 }) else { throw .unusedBytesNotZero }
        return [UInt8](bytes[..<count])
    }
}
