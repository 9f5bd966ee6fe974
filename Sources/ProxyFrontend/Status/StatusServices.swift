package import NIOCore
package import OnionClient

/// What the ``StatusServer`` can be asked for, and who answers.
package struct StatusServices: Sendable {
    package var status: @Sendable () -> EventLoopFuture<ProxyStatus>
    package var newIdentity: @Sendable () -> Void
    /// Open a stream step by step.
    package var trace: @Sendable (StreamRequest) -> EventLoopFuture<TracedStream>

    package init(
        status: @escaping @Sendable () -> EventLoopFuture<ProxyStatus>,
        newIdentity: @escaping @Sendable () -> Void,
        trace: @escaping @Sendable (StreamRequest) -> EventLoopFuture<TracedStream>
    ) {
        self.status = status
        self.newIdentity = newIdentity
        self.trace = trace
    }
}
