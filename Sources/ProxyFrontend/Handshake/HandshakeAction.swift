internal import NIOCore

/// What a handshake wants done next. The caller asks again after ``send(_:)``, and when bytes arrive after ``wait``.
enum HandshakeAction: Equatable, Sendable {
    /// Nothing can be said before more bytes come.
    case wait
    /// Send this, then ask again.
    case send(ByteBuffer)
    /// The request is complete. What is left in the buffer was sent ahead of the reply.
    case request(ProxyRequest)
    /// Send this and close: a refusal, or an answer that needed no stream.
    case finish(ByteBuffer)
    /// Close without a word: what came is none of the protocols.
    case close
}
