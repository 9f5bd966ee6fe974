import NIOConcurrencyHelpers
package import OnionAddress

/// The addresses of this machine that attackers come from. Those of listed routers are exempt from what holds for one
/// address, and on one machine that is 127.0.0.1.
package enum Stranger {
    private static let count = NIOLockedValueBox<UInt32>(0)

    /// One that nobody has come from yet: what holds for one address is not in the way.
    package static func anybody() -> IPAddress {
        let number = Self.count.withLockedValue { count in
            count = (count + 1) & 0xff_ffff
            return count
        }
        // 127.16.0.0 and up, round the rest of 127.0.0.0/8.
        return .v4(0x7f00_0000 | (0x10_0000 &+ number) & 0xff_ffff)
    }
}
