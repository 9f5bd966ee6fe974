import CSodium

/// A fast stream of random bytes for the padding of cells: ChaCha20 with fast key erasure.
///
/// Bytes come from a buffer. When that is spent, the key makes the next buffer and, first of all, its own successor, so
/// that nobody who reads the memory later can tell what was handed out before; bytes are wiped as they leave. After each
/// 1 MiB fresh bytes of the operating system are mixed in. So there is no system call per cell.
///
/// One owner at a time; give each event loop its own.
///
/// - Source: D. J. Bernstein, *Fast-key-erasure random-number generators*, 2017.
public struct PaddingSource: ~Copyable, @unchecked Sendable {
    // Sendable: the type cannot be copied, so the memory has one owner at a time. Upheld by the compiler.

    private static let keyByteCount = Int(crypto_stream_chacha20_ietf_KEYBYTES)
    private static let bufferByteCount = 8192
    private static let refillsPerReseed = (1 << 20) / bufferByteCount

    /// `key | buffer`, in one piece because one ChaCha20 run fills both.
    private let memory: UnsafeMutableRawBufferPointer
    /// Where in `memory` the bytes begin that nobody has had yet.
    private var position: Int
    private var refillsUntilReseed = Self.refillsPerReseed

    /// Seed from the operating system.
    public init() { self.init { SecureRandom.fill($0) } }

    /// Begin with a key that `fill` writes: a test's.
    init(key fill: (UnsafeMutableRawBufferPointer) -> Void) {
        Sodium.start()
        self.memory = .allocate(byteCount: Self.keyByteCount + Self.bufferByteCount, alignment: 64)
        Sodium.wipe(self.memory)
        fill(UnsafeMutableRawBufferPointer(rebasing: self.memory[..<Self.keyByteCount]))
        self.position = self.memory.count
    }

    deinit {
        Sodium.wipe(self.memory)
        self.memory.deallocate()
    }

    /// Overwrite the whole span with random bytes.
    public mutating func fill(_ span: inout MutableRawSpan) {
        span.withUnsafeMutableBytes { target in
            var filled = 0
            while filled < target.count {
                if self.position == self.memory.count { self.refill() }
                let count = min(target.count - filled, self.memory.count - self.position)
                let fresh = UnsafeMutableRawBufferPointer(
                    rebasing: self.memory[self.position..<self.position + count])
                UnsafeMutableRawBufferPointer(rebasing: target[filled..<filled + count])
                    .copyMemory(from: UnsafeRawBufferPointer(fresh))
                Sodium.wipe(fresh)
                filled += count
                self.position += count
            }
        }
    }

    private mutating func refill() {
        guard let base = self.memory.baseAddress else { return }
        self.refillsUntilReseed -= 1
        if self.refillsUntilReseed == 0 {
            self.refillsUntilReseed = Self.refillsPerReseed
            self.mixInFreshRandomness()
        }
        withUnsafeTemporaryAllocation(byteCount: Int(crypto_stream_chacha20_ietf_NONCEBYTES), alignment: 16) { nonce in
            Sodium.wipe(nonce)
            withUnsafeTemporaryAllocation(byteCount: Self.keyByteCount, alignment: 16) { key in
                key.copyMemory(from: UnsafeRawBufferPointer(rebasing: self.memory[..<Self.keyByteCount]))
                _ = crypto_stream_chacha20_ietf(base, UInt64(self.memory.count), nonce.start, key.start)
                Sodium.wipe(key)
            }
        }
        self.position = Self.keyByteCount
    }

    private func mixInFreshRandomness() {
        withUnsafeTemporaryAllocation(byteCount: Self.keyByteCount, alignment: 16) { fresh in
            SecureRandom.fill(fresh)
            // Not `^=`: with the thread sanitizer, Swift 6.3 cannot compile that on what a non-copyable value holds.
            let memory = self.memory
            for index in 0..<Self.keyByteCount { memory[index] = memory[index] ^ fresh[index] }
            Sodium.wipe(fresh)
        }
    }
}
