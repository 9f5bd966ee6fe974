/// Tells whether bytes are the beginning of a TLS connection.
enum TLSClientHello {
    private static let recordHeaderByteCount = 5
    private static let handshakeRecord: UInt8 = 22
    private static let clientHello: UInt8 = 1
    private static let recordLimit = 1 << 14

    /// Whether `bytes` are one TLS handshake record that begins with a ClientHello, or the first part of one, and nothing
    /// behind it: what comes later could be early data, which does something.
    ///
    /// - Source: RFC 8446 §5.1, §4
    static func isBeginning(of bytes: some Collection<UInt8>) -> Bool {
        let head = Array(bytes.prefix(Self.recordHeaderByteCount + 1))
        guard head.count == Self.recordHeaderByteCount + 1, head[0] == Self.handshakeRecord, head[1] == 3,
            head[5] == Self.clientHello
        else { return false }
        let byteCount = Int(head[3]) << 8 | Int(head[4])
        return byteCount <= Self.recordLimit && bytes.count <= Self.recordHeaderByteCount + byteCount
    }
}
