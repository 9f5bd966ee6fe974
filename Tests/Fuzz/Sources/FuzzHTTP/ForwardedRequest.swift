import NIOCore
import NIOEmbedded
import NIOHTTP1

@testable import ProxyFrontend

/// What becomes of a program's bytes on their way to an origin: read by the proxy's own pipeline, and then once more as an
/// origin would.
struct ForwardedRequest {
    /// Nil: nothing went on.
    private(set) var head: HTTPRequestHead?
    private(set) var body: [UInt8] = []
    /// Whether the proxy gave up in the middle.
    private(set) var isBroken = false
    private var headCount = 0
    private var isReadable = true

    init(of stream: [UInt8], pieceByteCount: Int) {
        let channel = EmbeddedChannel()
        do {
            try channel.pipeline.syncOperations.addHandlers(HTTPForwardHandler.handlers())
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        } catch { preconditionFailure("no connection: \(error)") }
        for start in stride(from: 0, to: stream.count, by: pieceByteCount) where channel.isActive && !self.isBroken {
            let piece = stream[start..<min(stream.count, start + pieceByteCount)]
            do { try channel.writeInbound(ByteBuffer(bytes: piece)) } catch { self.isBroken = true }
        }
        var passed = ByteBuffer()
        while var bytes = try? channel.readInbound(as: ByteBuffer.self) { passed.writeBuffer(&bytes) }
        if !channel.isActive { self.isBroken = true }
        while (try? channel.readOutbound(as: ByteBuffer.self)) != nil { self.isBroken = true }
        _ = try? channel.finish(acceptAlreadyClosed: true)
        if passed.readableBytes > 0 { self.read(passed) }
    }

    private mutating func read(_ bytes: ByteBuffer) {
        let decoder = ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes))
        let origin = EmbeddedChannel(handler: decoder)
        do { try origin.writeInbound(bytes) } catch { self.isReadable = false }
        while let part = try? origin.readInbound(as: HTTPServerRequestPart.self) {
            switch part {
            case .head(let head):
                self.headCount += 1
                self.head = head
            case .body(let bytes): self.body += Array(buffer: bytes)
            case .end: break
            }
        }
        _ = try? origin.finish(acceptAlreadyClosed: true)
    }

    /// What is between the program and the proxy alone.
    private static let ownFields = [
        "proxy-authorization", "proxy-connection", "thor-country", "thor-exit", "te", "upgrade",
    ]

    func check() {
        precondition(self.isReadable, "an origin cannot read what the proxy makes of a request")
        guard let head else {
            precondition(self.headCount == 0 && self.body.isEmpty, "an origin gets bytes without a request")
            return
        }
        precondition(self.headCount == 1, "an origin gets a request that is not its own")
        precondition(head.uri.first == "/" || head.uri == "*", "an origin is asked for another's")
        precondition(head.headers["host"].count == 1, "an origin does not know by which name it is asked")
        precondition(head.headers["connection"] == ["close"], "an origin is not told to close")
        for name in Self.ownFields { precondition(!head.headers.contains(name: name), "an origin learns \(name)") }
    }
}
