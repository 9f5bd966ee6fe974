package import NIOCore
package import OnionCrypto

import struct Foundation.Date

/// Time and randomness for code in tasks, which has no event loop to ask: they come from outside, so that a run can be
/// repeated, and played in virtual time.
package struct TimeAndChance: Sendable {
    package let now: @Sendable () -> NIODeadline
    /// The time of day.
    package let unixMilliseconds: @Sendable () -> UInt64
    /// Wait; throws `CancellationError` when the task is cancelled meanwhile.
    package let sleep: @Sendable (TimeAmount) async throws -> Void
    package let randomBytes: @Sendable () -> Bytes32

    package init(
        now: @escaping @Sendable () -> NIODeadline, unixMilliseconds: @escaping @Sendable () -> UInt64,
        sleep: @escaping @Sendable (TimeAmount) async throws -> Void, randomBytes: @escaping @Sendable () -> Bytes32
    ) {
        self.now = now
        self.unixMilliseconds = unixMilliseconds
        self.sleep = sleep
        self.randomBytes = randomBytes
    }

    package var unixSeconds: UInt64 { self.unixMilliseconds() / 1000 }

    /// For choices that nobody may foresee, such as when to try again.
    package var generator: Generator { Generator(randomBytes: self.randomBytes) }

    package struct Generator: RandomNumberGenerator, Sendable {
        fileprivate let randomBytes: @Sendable () -> Bytes32

        package mutating func next() -> UInt64 {
            self.randomBytes().bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }
    }

    /// This machine's.
    package static let system = TimeAndChance(
        now: { .now() },
        unixMilliseconds: { UInt64(exactly: (Date().timeIntervalSince1970 * 1000).rounded(.down)) ?? 0 },
        sleep: { try await Task.sleep(for: .nanoseconds($0.nanoseconds)) },
        randomBytes: SecureRandom.bytes32)
}
