package import NIOCore
package import OnionCells
package import OnionClient

/// What the front end needs of the client behind it: streams and look-ups, on one event loop.
package protocol StreamOpening: Sendable {
    /// The loop of all channels that streams are attached to.
    var eventLoop: any EventLoop { get }

    /// Open a stream; fails with a `StreamFailure`.
    ///
    /// - Parameter gone: when it completes, nobody waits for the stream any more.
    func open(_ request: StreamRequest, until gone: EventLoopFuture<Void>?) -> EventLoopFuture<OpenedStream>

    /// Look a name or an address up at an exit; fails with a `StreamFailure`.
    func resolve(
        _ query: Resolve, isolation: IsolationKey, exit: ExitWish, until gone: EventLoopFuture<Void>?
    ) -> EventLoopFuture<Resolved>
}

extension OnionClient: StreamOpening {}
