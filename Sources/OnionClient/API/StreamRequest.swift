public import NIOCore

/// What an application wants a stream for: a destination, whom it may share a circuit with, and what it has sent already.
///
/// - Source: DESIGN §10
public struct StreamRequest: Sendable {
    /// A name, or an address literal without brackets: 1–255 bytes, no NUL. Names are looked up at the exit only.
    public var host: String
    /// The destination port, never 0.
    public var port: UInt16
    /// Streams with different keys never share a circuit.
    public var isolation: IsolationKey
    /// What the exit must be like, besides letting the stream out.
    public var exit: ExitWish
    /// What the application sent ahead of the reply. It goes out behind Begin; once it has, there is no retry.
    public var earlyData: ByteBuffer

    public init(
        host: String, port: UInt16, isolation: IsolationKey, exit: ExitWish = .any,
        earlyData: ByteBuffer = ByteBuffer()
    ) {
        self.host = host
        self.port = port
        self.isolation = isolation
        self.exit = exit
        self.earlyData = earlyData
    }
}
