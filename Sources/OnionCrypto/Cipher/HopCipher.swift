internal import COnionCipher

/// Holds the layer cipher of one hop in one direction: keys, nonce and last tag, with everything expanded that makes a
/// cell cheap. Encrypts and decrypts whole cell bodies in place; wiped when released.
///
/// A body is the tag and what comes after it:
///
/// | offset | size | field |
/// | --- | --- | --- |
/// | 0 | 16 | `X_L`, the tag |
/// | 16 | 2027 | `X_R`: relay messages and padding. The size follows from the body's, up to 4016 |
///
/// Every function takes the command of the link cell, which the cipher authenticates. A body length outside
/// ``bodyByteCounts`` is a programmer's mistake and traps; one circuit uses one length.
///
/// A hop's state belongs to one event loop at a time: the loop of the link that its cells come from (DESIGN §8).
///
/// - Source: DESIGN §6.2; Tor proposal 359 (Counter Galois Onion, AES-128).
// Unchecked: the C state is changed without a lock. Whoever owns the circuit keeps it on one event loop, and hands it
// over by message.
public final class HopCipher: @unchecked Sendable {
    /// Length of the keys: J, S and N of DESIGN §6.2.
    public static let keyByteCount = Int(ONION_CIPHER_KEY_BYTES)

    /// The lengths that a body may have: the counter of the key stream must fit in one byte.
    public static let bodyByteCounts = Int(ONION_CIPHER_BODY_MINIMUM)...Int(ONION_CIPHER_BODY_MAXIMUM)

    // Made by onion_cipher_create, freed in deinit, and never given to anybody.
    private let state: OpaquePointer

    /// Expands exactly 80 bytes of keys, which are copied; the last tag is zero.
    public convenience init(keys: UnsafeRawBufferPointer) {
        self.init(keys: keys, implementation: .best)
    }

    /// Expands 80 bytes of keys; nil unless there are exactly that many. The array is the caller's to wipe.
    public convenience init?(keyBytes: [UInt8]) {
        self.init(keyBytes: keyBytes, implementation: .best)
    }

    /// As ``init(keyBytes:)``, with a chosen implementation, which must be available.
    @_spi(Testing) public convenience init?(keyBytes: [UInt8], implementation: CipherImplementation) {
        guard keyBytes.count == Self.keyByteCount else { return nil }
        self.init(copying: keyBytes, implementation: implementation)
    }

    private convenience init(copying keyBytes: [UInt8], implementation: CipherImplementation) {
        let state = keyBytes.withUnsafeBytes { Self.makeState($0, implementation) }
        self.init(state: state)
    }

    private convenience init(keys: UnsafeRawBufferPointer, implementation: CipherImplementation) {
        self.init(state: Self.makeState(keys, implementation))
    }

    private init(state: OpaquePointer) {
        self.state = state
    }

    private static func makeState(
        _ keys: UnsafeRawBufferPointer, _ implementation: CipherImplementation
    ) -> OpaquePointer {
        precondition(keys.count == Self.keyByteCount, "the keys of a hop are 80 bytes")
        let bytes = keys.baseAddress?.assumingMemoryBound(to: UInt8.self)
        guard let state = onion_cipher_create(implementation.rawValue, bytes) else {
            fatalError("no memory for a layer cipher, or \(implementation) is not available")
        }
        return state
    }

    deinit {
        onion_cipher_destroy(self.state)
    }

    /// Adds this router's layer to a cell from the client.
    ///
    /// - Returns: The cell's tag if the cell is for this hop: the body then holds its messages, and the keys have been
    ///   replaced. Nil if it is to be passed on.
    public func forward(command: UInt8, body: inout MutableRawSpan) -> CellTag? {
        Self.withBody(&body) { bytes, count, tag in
            onion_cipher_forward(self.state, command, bytes, count, tag)
        }
    }

    /// Adds this router's layer to a cell that goes on towards the client.
    public func backward(command: UInt8, body: inout MutableRawSpan) {
        Self.withBody(&body) { onion_cipher_backward(self.state, command, $0, $1) }
    }

    /// Makes a cell of this router's own: writes the tag into the first 16 bytes, adds the layer, replaces the keys.
    ///
    /// - Returns: The cell's tag.
    public func originate(command: UInt8, body: inout MutableRawSpan) -> CellTag {
        Self.withBody(&body) { onion_cipher_originate(self.state, command, $0, $1, $2) }
    }

    /// Removes, ahead of time, the layer of the hop that the client's cell is for; writes the tag, replaces the keys.
    func originateAtClient(command: UInt8, body: inout MutableRawSpan) -> CellTag {
        Self.withBody(&body) { onion_cipher_client_originate(self.state, command, $0, $1, $2) }
    }

    /// Removes, ahead of time, the layer of a hop that the client's cell will pass through.
    func forwardAtClient(command: UInt8, body: inout MutableRawSpan) {
        Self.withBody(&body) { onion_cipher_client_forward(self.state, command, $0, $1) }
    }

    /// Removes this hop's layer from a cell that has arrived at the client.
    ///
    /// - Returns: The cell's tag if this hop originated it; the keys have then been replaced.
    func backwardAtClient(command: UInt8, body: inout MutableRawSpan) -> CellTag? {
        Self.withBody(&body) { onion_cipher_client_backward(self.state, command, $0, $1, $2) }
    }

    // The doors to the C functions: the only places where the body is a pointer, its length checked.

    private static func withBody(
        _ body: inout MutableRawSpan, _ call: (UnsafeMutablePointer<UInt8>?, Int) -> Void
    ) {
        precondition(Self.bodyByteCounts.contains(body.byteCount), "no cell body has this length")
        body.withUnsafeMutableBytes { call($0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count) }
    }

    private static func withBody(
        _ body: inout MutableRawSpan,
        _ call: (UnsafeMutablePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>?) -> Void
    ) -> CellTag {
        var words = (high: UInt64(0), low: UInt64(0))
        withUnsafeMutableBytes(of: &words) { tag in
            let tag = tag.baseAddress?.assumingMemoryBound(to: UInt8.self)
            Self.withBody(&body) { call($0, $1, tag) }
        }
        return CellTag(high: UInt64(bigEndian: words.high), low: UInt64(bigEndian: words.low))
    }

    private static func withBody(
        _ body: inout MutableRawSpan,
        _ call: (UnsafeMutablePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>?) -> Bool
    ) -> CellTag? {
        var isRecognised = false
        let tag: CellTag = Self.withBody(&body) { isRecognised = call($0, $1, $2) }
        return isRecognised ? tag : nil
    }
}

/// The parts that a cell is processed with, and the state as bytes: for test vectors and measurements.
@_spi(Testing) extension HopCipher {
    /// J | S | N, 80 bytes, and T', 16 bytes.
    public var stateBytes: (keys: [UInt8], lastTag: [UInt8]) {
        var keys = [UInt8](repeating: 0, count: Self.keyByteCount)
        var tag = [UInt8](repeating: 0, count: CellTag.byteCount)
        onion_cipher_read_state(self.state, &keys, &tag)
        return (keys, tag)
    }

    /// Sets T'.
    public func setLastTag(_ tag: CellTag) {
        onion_cipher_set_last_tag(self.state, tag.bytes)
    }

    /// UIV.enc with the tweak T' | command | X_R.
    public func encryptBody(command: UInt8, body: inout MutableRawSpan) {
        Self.withBody(&body) { onion_cipher_uiv_encrypt(self.state, command, $0, $1) }
    }

    /// UIV.dec with the tweak T' | command | X_R.
    public func decryptBody(command: UInt8, body: inout MutableRawSpan) {
        Self.withBody(&body) { onion_cipher_uiv_decrypt(self.state, command, $0, $1) }
    }

    /// UPDATE(N), in a circuit with bodies of this length.
    public func updateKeys(bodyByteCount: Int) {
        precondition(Self.bodyByteCounts.contains(bodyByteCount), "no cell body has this length")
        onion_cipher_update(self.state, bodyByteCount)
    }
}
