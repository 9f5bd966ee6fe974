package import NIOCore

/// What one application, or all of them together, may make the proxy hold.
package struct ProxyLimits: Sendable, Equatable {
    /// From the accept until the request is complete, however slowly its bytes come.
    package var handshakeTimeout: TimeAmount = .minutes(10)
    /// Until then, how long nothing may come.
    package var handshakeSilence: TimeAmount = .minutes(2)
    /// After a refusal, how long the application may take to close its side.
    package var lingerTimeout: TimeAmount = .seconds(2)
    /// After a refusal, how many more bytes are read and dropped, so that the close does not destroy the reply on its way.
    package var lingerByteCount = 256 * 1024
    /// What may arrive between the request and the stream. Reading stops once the request is complete, so only a socket
    /// whose peer has closed brings more than the rest of one read: what was in its kernel buffer.
    package var laterByteCount = 1024 * 1024
    /// Kernel receive buffer of an accepted connection; it bounds what a closed peer leaves behind.
    package var receiveBufferByteCount = 256 * 1024
    /// Connections at one time; one more is closed as soon as it is accepted.
    package var connectionCount = 8192

    package init() {}
}
