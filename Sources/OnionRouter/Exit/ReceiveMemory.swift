import OnionStreams

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// What the kernel may hold of destinations' bytes, lent to the sockets of exit streams.
///
/// A destination fills its socket's buffer whether or not the client takes anything, and all sockets of a machine share what
/// TCP may use: beyond that none of them gets on. So each is lent a small part of what is left: hundreds get all that they
/// can use, and no number of them takes everything.
struct ReceiveMemory {
    /// One socket gets one part in so many of what is left.
    private static let share = 512
    /// What it gets in any case.
    static let leastByteCount = 8192

    private(set) var leftByteCount: Int

    /// - Parameter byteCount: all there is to lend.
    init(byteCount: Int) { self.leftByteCount = byteCount }

    /// Three quarters of a sixteenth of the machine's memory: with a sixteenth in use, the kernel begins to find TCP's memory
    /// short, unless told otherwise.
    ///
    /// - Source: tcp(7), *tcp_mem*
    static var ofMachine: ReceiveMemory {
        let byteCount = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        return ReceiveMemory(byteCount: byteCount / 16 / 4 * 3)
    }

    /// Lend what ``giveBack(_:)`` gets back when the socket is closed.
    ///
    /// - Parameter streamCount: streams of the circuit, the new one included.
    /// - Returns: a value for SO_RCVBUF. The kernel holds up to twice as much, what it needs itself included (socket(7)).
    mutating func lend(streamCount: Int) -> Int {
        let byteCount = min(
            StreamEdge.receiveBufferByteCount(streamCount: streamCount),
            max(Self.leastByteCount, self.leftByteCount / Self.share / 2))
        self.leftByteCount -= 2 * byteCount
        return byteCount
    }

    mutating func giveBack(_ byteCount: Int) { self.leftByteCount += 2 * byteCount }
}
