/// Thirty-two public bytes without an allocation: a public key, a digest, a salt.
///
/// Its order is that of the bytes, first byte first. `==` is not constant time: never hold a secret in one.
public struct Bytes32: Hashable, Sendable {
    // The bytes as they lie in memory, so that the storage can be read in place on any machine.
    private var words: (UInt64, UInt64, UInt64, UInt64) {
        (self.word0, self.word1, self.word2, self.word3)
    }
    private var word0: UInt64 = 0
    private var word1: UInt64 = 0
    private var word2: UInt64 = 0
    private var word3: UInt64 = 0

    public static let byteCount = 32

    /// Thirty-two zero bytes.
    public static let zero = Bytes32()

    private init() {}

    /// Make one from exactly 32 bytes, or nil.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        bytes.withRawBytes { source in
            self.withUnsafeMutableBytes { $0.copyMemory(from: source) }
        }
    }

    /// Make one by having `fill` write its 32 bytes.
    init(filling fill: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
        try self.withUnsafeMutableBytes(fill)
    }

    /// The bytes as a new array.
    public var bytes: [UInt8] { self.withUnsafeBytes { [UInt8]($0) } }

    /// Call `body` with the 32 bytes in place.
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try Swift.withUnsafeBytes(of: self.words, body)
    }

    private mutating func withUnsafeMutableBytes(_ body: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
        var words = self.words
        try Swift.withUnsafeMutableBytes(of: &words, body)
        (self.word0, self.word1, self.word2, self.word3) = words
    }
}

extension Bytes32: Comparable {
    public static func < (left: Bytes32, right: Bytes32) -> Bool {
        (left.word0.bigEndian, left.word1.bigEndian, left.word2.bigEndian, left.word3.bigEndian)
            < (right.word0.bigEndian, right.word1.bigEndian, right.word2.bigEndian, right.word3.bigEndian)
    }
}

extension Bytes32 {
    /// The bytes as 43 characters of unpadded base64url.
    public var base64URL: String { Base64URL.encode(self.bytes) }

    /// Read what `base64URL` writes; nil for anything else.
    public init?(base64URL text: String) {
        guard let bytes = Base64URL.decode(text) else { return nil }
        self.init(bytes)
    }
}
