/// What a handshake gives both ends of a hop: 160 secret bytes, forward then backward, each `J | S | N`. Wiped when dropped.
///
/// - Source: DESIGN §6.1, §6.2.
public final class CircuitKeys: Sendable {
    package static let byteCount = 160
    /// What one direction's cipher takes.
    package static let directionByteCount = 80

    private let secret: SecretMemory

    init(secret: SecretMemory) {
        precondition(secret.byteCount == Self.byteCount)
        self.secret = secret
    }

    /// Call `body` with the 80 bytes of the direction from the client.
    package func withForwardKeys<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try self.secret.withBytes { try body(UnsafeRawBufferPointer(rebasing: $0[..<Self.directionByteCount])) }
    }

    /// Call `body` with the 80 bytes of the direction to the client.
    package func withBackwardKeys<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try self.secret.withBytes { try body(UnsafeRawBufferPointer(rebasing: $0[Self.directionByteCount...])) }
    }

    /// The cipher of the direction from the client.
    public func makeForward() -> HopCipher { self.withForwardKeys { HopCipher(keys: $0) } }

    /// The cipher of the direction to the client.
    public func makeBackward() -> HopCipher { self.withBackwardKeys { HopCipher(keys: $0) } }
}
