import NIOCore
import NIOEmbedded
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Probe handler")
struct ProbeHandlerTests {
    /// A channel with the handler alone, and what it finds.
    private static func makeProbe() throws -> (channel: EmbeddedChannel, outcome: EventLoopFuture<ProbeOutcome>) {
        let channel = EmbeddedChannel()
        let outcome = channel.eventLoop.makePromise(of: ProbeOutcome.self)
        let client = CircuitHandshake.Client(
            identity: Ed25519PrivateKey().publicKey, onionKey: X25519PrivateKey().publicKey)
        try channel.pipeline.syncOperations.addHandler(ProbeHandler(handshake: client, outcome: outcome))
        return (channel, outcome.futureResult)
    }

    @Test("a channel that ends before it was connected tells of no router")
    func notConnected() throws {
        let (channel, outcome) = try Self.makeProbe()
        channel.close(promise: nil)
        channel.embeddedEventLoop.run()
        #expect(try outcome.wait() == .unreachable)
        _ = try channel.finish(acceptAlreadyClosed: true)
    }

    @Test("a connection that ends before the handshake tells of another than the router")
    func noHandshake() throws {
        let (channel, outcome) = try Self.makeProbe()
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        channel.close(promise: nil)
        channel.embeddedEventLoop.run()
        #expect(try outcome.wait() == .handshakeFailed)
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
