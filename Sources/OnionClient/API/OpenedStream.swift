public import NIOCore
public import OnionCells

/// A stream that the exit has connected, waiting for a channel to flow into.
///
/// Exactly one of ``attach(to:)`` and ``discard()`` is called, once, on the client's event loop; a stream that got neither
/// keeps its place on the circuit for ever.
public struct OpenedStream: Sendable {
    /// Where the exit did connect to.
    public let connected: Connected

    private let attachBody: @Sendable (any Channel) -> EventLoopFuture<Void>
    private let discardBody: @Sendable () -> Void

    /// Make one from what the circuit offers.
    ///
    /// - Parameters:
    ///   - connected: the exit's answer.
    ///   - attach: joins stream and channel, see ``attach(to:)``.
    ///   - discard: ends the stream, see ``discard()``.
    public init(
        connected: Connected, attach: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>,
        discard: @escaping @Sendable () -> Void
    ) {
        self.connected = connected
        self.attachBody = attach
        self.discardBody = discard
    }

    /// Join the stream to a channel: add the edge handler last in its pipeline and start the flow both ways.
    ///
    /// The channel is on the client's event loop and has `autoRead` off and half-closure allowed; from here on the edge
    /// handler reads it as the windows allow, and closes it. The future completes once the handler is in the
    /// pipeline; the caller then fires what it has read meanwhile (and a half-close it has seen) into the pipeline, in order.
    ///
    /// - Parameter channel: the application's connection.
    /// - Returns: a failed future if the stream or the channel died meanwhile; both are closed then.
    public func attach(to channel: any Channel) -> EventLoopFuture<Void> { self.attachBody(channel) }

    /// End the stream without having used it, as when the application has gone.
    public func discard() { self.discardBody() }
}
