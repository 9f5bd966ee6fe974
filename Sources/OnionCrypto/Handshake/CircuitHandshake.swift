/// The circuit handshake: hybrid ntor with X25519 and ML-KEM-768. This file has its layout; `Client` and `Server` play it.
///
/// Create:
///
/// | offset | bytes | field |
/// | --- | --- | --- |
/// | 0 | 2 | type, 1 |
/// | 2 | 32 | ID, the router's identity key |
/// | 34 | 32 | B, the router's onion key |
/// | 66 | 32 | X, the client's ephemeral key |
/// | 98 | 1184 | ek, the client's ML-KEM-768 encapsulation key |
/// | 1282 | 2 | extension byte count *n* |
/// | 1284 | *n* | extensions |
///
/// Created:
///
/// | offset | bytes | field |
/// | --- | --- | --- |
/// | 0 | 32 | Y, the router's ephemeral key |
/// | 32 | 1088 | ct, the ML-KEM-768 ciphertext |
/// | 1120 | 2 | extension byte count *n* |
/// | 1122 | *n* | extensions |
/// | 1122 + *n* | 32 | AUTH |
///
/// - Source: DESIGN §6.1.
public enum CircuitHandshake {
    /// The length of a Create without extensions.
    public static let createByteCount = CreateLayout.extensions.lowerBound
    /// The length of a Created without extensions.
    public static let createdByteCount = CreatedLayout.extensionsStart + CreatedLayout.authByteCount

    enum CreateLayout {
        static let type = 0..<2
        static let identity = 2..<34
        static let onionKey = 34..<66
        static let ephemeral = 66..<98
        static let encapsulationKey = 98..<1282
        static let extensionByteCount = 1282..<1284
        static let extensions = 1284...
        /// The only type there is.
        static let typeValue = 1
    }

    enum CreatedLayout {
        static let ephemeral = 0..<32
        static let ciphertext = 32..<1120
        static let extensionByteCount = 1120..<1122
        static let extensionsStart = 1122
        static let authByteCount = 32
    }

    /// Return how many bytes at the front of `body` are a Create, extensions included; what follows must be zero.
    ///
    /// - Throws: `.malformed` if `body` is too short for what it says, or of an unknown type.
    public static func createByteCount(prefixOf body: some Collection<UInt8>) throws(HandshakeError) -> Int {
        guard Self.integer(in: body, at: CreateLayout.type) == CreateLayout.typeValue,
            let extensions = Self.integer(in: body, at: CreateLayout.extensionByteCount)
        else { throw .malformed }
        let total = Self.createByteCount + extensions
        guard body.count >= total else { throw .malformed }
        return total
    }

    /// Return how many bytes at the front of `body` are a Created, extensions and AUTH included; what follows must be
    /// zero.
    ///
    /// - Throws: `.malformed` if `body` is too short for what it says.
    public static func createdByteCount(prefixOf body: some Collection<UInt8>) throws(HandshakeError) -> Int {
        guard let extensions = Self.integer(in: body, at: CreatedLayout.extensionByteCount) else { throw .malformed }
        let total = Self.createdByteCount + extensions
        guard body.count >= total else { throw .malformed }
        return total
    }

    /// Check that `bytes` are whole extensions, `type u16 | length u16 | value`. None is known, so all are ignored.
    static func checkExtensions(_ bytes: ArraySlice<UInt8>) throws(HandshakeError) {
        var rest = bytes
        while !rest.isEmpty {
            guard let byteCount = Self.integer(in: rest, at: 2..<4), byteCount <= rest.count - 4 else {
                throw .malformed
            }
            rest = rest.dropFirst(4 + byteCount)
        }
    }

    /// Return the big-endian u16 at two offsets from the start, or nil if there are fewer bytes.
    private static func integer(in bytes: some Collection<UInt8>, at range: Range<Int>) -> Int? {
        guard bytes.count >= range.upperBound else { return nil }
        return bytes.dropFirst(range.lowerBound).prefix(range.count).reduce(0) { $0 << 8 | Int($1) }
    }
}
