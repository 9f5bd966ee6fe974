#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The time of day, for documents that say when they are valid.
enum WallClock {
    /// Unix seconds.
    static var now: UInt64 { UInt64(max(0, time(nil))) }
}
