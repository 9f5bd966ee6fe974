import CSodium

/// The door to libsodium: initialisation, and the few things that all its callers share.
///
/// - Invariant: every file that calls libsodium for secrets or randomness passes through `Sodium.start()` first.
enum Sodium {
    /// Initialise libsodium, once per process. Any thread may call it.
    ///
    /// It fails only when the system has no source of randomness; nothing in Thor may run then, so it stops the process.
    @inline(__always) static func start() { _ = Self.started }

    private static let started: Void = {
        guard sodium_init() >= 0 else { fatalError("libsodium could not start: no source of randomness") }
    }()

    /// Compare two byte ranges in time that depends on their lengths only.
    static func areEqual(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        guard left.count == right.count else { return false }
        guard let leftBase = left.baseAddress, let rightBase = right.baseAddress else { return true }
        return sodium_memcmp(leftBase, rightBase, left.count) == 0
    }

    /// Overwrite bytes in a way that the optimiser keeps.
    static func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        sodium_memzero(base, bytes.count)
    }
}

extension Collection<UInt8> {
    /// Call `body` with the bytes in one piece, copied only if they are not stored so.
    func withRawBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        if let result = try self.withContiguousStorageIfAvailable({ try body(UnsafeRawBufferPointer($0)) }) {
            return result
        }
        return try Array(self).withUnsafeBytes(body)
    }
}

/// Overwrite an array that held a secret (a passphrase, say) and empty it.
///
/// It wipes this copy alone; an array that shares its storage keeps the bytes.
package func wipe(_ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { Sodium.wipe($0) }
    bytes = []
}

extension UnsafeRawBufferPointer {
    /// The address of the first byte, for C; only for buffers that our own code made, and not empty.
    var start: UnsafeRawPointer {
        guard let base = self.baseAddress else { preconditionFailure("an empty buffer has no address") }
        return base
    }
}

extension UnsafeMutableRawBufferPointer {
    /// The address of the first byte, for C; only for buffers that our own code made, and not empty.
    var start: UnsafeMutableRawPointer {
        guard let base = self.baseAddress else { preconditionFailure("an empty buffer has no address") }
        return base
    }
}
