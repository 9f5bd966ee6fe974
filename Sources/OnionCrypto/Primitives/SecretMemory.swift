import CSodium
internal import Synchronization

/// Secret bytes of a fixed length, written once and wiped when dropped.
///
/// There is no `description`, no copy and no way to get at the bytes but through a pointer that lives for one call.
final class SecretMemory: @unchecked Sendable {
    // Invariant: the bytes are written only by the closure of `init`, before another thread can have the object, and
    // only read afterwards. Upheld by `withBytes`, the only other access, which hands out a read-only pointer.

    enum Protection {
        /// Long-lived keys: guard pages, locked in memory, never in a core dump, read-only after `init`. Costs system calls.
        case guarded
        /// Keys of one handshake or circuit: ordinary memory that is wiped.
        case plain
    }

    /// How many guarded ones there are in this process.
    private static let guarded = Atomic<Int>(0)
    static var guardedCount: Int { Self.guarded.load(ordering: .relaxed) }

    let byteCount: Int
    private let base: UnsafeMutableRawPointer
    private let protection: Protection

    /// Make `byteCount` bytes, all zero, and let `fill` write them.
    init(byteCount: Int, protection: Protection, fill: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
        Sodium.start()
        self.byteCount = byteCount
        self.protection = protection
        switch protection {
        case .guarded:
            guard let base = sodium_malloc(byteCount) else { fatalError("out of memory for a secret key") }
            self.base = base
            Self.guarded.add(1, ordering: .relaxed)
        case .plain:
            self.base = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 16)
        }
        let bytes = UnsafeMutableRawBufferPointer(start: self.base, count: byteCount)
        Sodium.wipe(bytes)
        try fill(bytes)
        if case .guarded = protection { _ = sodium_mprotect_readonly(self.base) }
    }

    deinit {
        switch self.protection {
        case .guarded:
            sodium_free(self.base)  // Makes it writable again and wipes it.
            Self.guarded.subtract(1, ordering: .relaxed)
        case .plain:
            sodium_memzero(self.base, self.byteCount)
            self.base.deallocate()
        }
    }

    func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(self) {
            try body(UnsafeRawBufferPointer(start: self.base, count: self.byteCount))
        }
    }
}

/// What this process holds of long-term keys.
package enum LongTermKeys {
    /// How many there are. Each has a page of its own that was to be locked.
    package static var count: Int { SecretMemory.guardedCount }
}
