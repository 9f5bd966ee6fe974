internal import NIOCore
internal import NIOHTTP1

/// Turns one request to a proxy into one to the origin: stands between NIOHTTP1's decoder, which takes the program's bytes
/// apart, and the stream's handler, which gets the bytes that the origin is to read. The answer passes as it is.
///
/// One request a connection: the origin is asked to close, and so tells the program that the connection is spent. A
/// program that sends another request all the same finds it closed; nothing of it goes to this origin, which may not be its own.
///
/// - Source: RFC 9110 §7.6; RFC 9112 §3.2, §6, §7.1
final class HTTPForwardHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = ByteBuffer

    private enum State { case head, body(isChunked: Bool), finished }
    private var state = State.head

    /// Fields between the program and the proxy alone, besides those that `Connection` names.
    private static let ownFields: Set<String> = [
        "connection", "keep-alive", "te", "trailer", "upgrade", "host", "proxy-authorization", "proxy-authenticate",
        "proxy-connection", "thor-country", "thor-exit", "transfer-encoding",
    ]

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (Self.unwrapInboundIn(data), self.state) {
        case (.head(let head), .head):
            guard let target = HTTPForwardTarget(head.uri, method: head.method.rawValue) else {
                return context.close(promise: nil)
            }
            let isChunked = head.headers["transfer-encoding"].contains { $0.lowercased().contains("chunked") }
            self.state = .body(isChunked: isChunked)
            context.fireChannelRead(Self.wrapInboundOut(Self.bytes(head, target, isChunked: isChunked)))
        case (.body(let bytes), .body(let isChunked)):
            guard bytes.readableBytes > 0 else { return }
            context.fireChannelRead(Self.wrapInboundOut(isChunked ? Self.chunk(bytes) : bytes))
        case (.end, .body(let isChunked)):
            self.state = .finished
            // Trailers are a hop's own business, and hardly anybody's.
            if isChunked { context.fireChannelRead(Self.wrapInboundOut(ByteBuffer(string: "0\r\n\r\n"))) }
        // A second request.
        case (_, .finished): context.close(promise: nil)
        case (.head, .body), (.body, .head), (.end, .head):
            assertionFailure("the decoder keeps the order")
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // What the decoder cannot read must not reach the origin in part: it might read it otherwise.
        context.fireErrorCaught(error)
    }

    private static func bytes(_ head: HTTPRequestHead, _ target: HTTPForwardTarget, isChunked: Bool) -> ByteBuffer {
        let named = head.headers[canonicalForm: "connection"].map { $0.lowercased() }
        var text = "\(head.method.rawValue) \(target.originForm) HTTP/1.1\r\nHost: \(target.authority)\r\n"
        for (name, value) in head.headers {
            let lowered = name.lowercased()
            if !Self.ownFields.contains(lowered), !named.contains(lowered) { text += "\(name): \(value)\r\n" }
        }
        if isChunked { text += "Transfer-Encoding: chunked\r\n" }
        text += "Connection: close\r\n\r\n"
        return ByteBuffer(string: text)
    }

    private static func chunk(_ bytes: ByteBuffer) -> ByteBuffer {
        var chunk = ByteBuffer(string: "\(String(bytes.readableBytes, radix: 16))\r\n")
        chunk.writeImmutableBuffer(bytes)
        chunk.writeString("\r\n")
        return chunk
    }
}

@available(*, unavailable)
extension HTTPForwardHandler: Sendable {}
