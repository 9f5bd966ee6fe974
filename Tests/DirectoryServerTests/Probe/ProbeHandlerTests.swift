import NIOCore
import NIOEmbedded
import NIOTLS
import OnionAddress
import OnionCells
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

    @Test("padding is borne for so many cells and no more, and none of it is kept", arguments: [63, 64])
    func padding(count: Int) throws {
        let (channel, outcome) = try Self.makeProbe()
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        channel.pipeline.fireUserInboundEventTriggered(TLSUserEvent.handshakeCompleted(negotiatedProtocol: nil))
        func cell(_ command: CellCommand, _ body: ByteBuffer = ByteBuffer()) -> ByteBuffer {
            var cell = ByteBuffer()
            cell.writeMultipleIntegers(0 as UInt32, command.rawValue)
            cell.writeImmutableBuffer(body)
            cell.writeRepeatingByte(0, count: Cell.byteCount - cell.readableBytes)
            return cell
        }
        var netInfo = ByteBuffer()
        NetInfo(unixTime: 1, observedAddress: .v4(0x7f00_0001)).write(to: &netInfo)
        try channel.writeInbound(cell(.netInfo, netInfo))
        for _ in 0..<count { try channel.writeInbound(cell(.padding)) }
        let handler = try channel.pipeline.syncOperations.handler(type: ProbeHandler.self)
        #expect(handler.keptByteCount <= 8 * Cell.byteCount)
        channel.embeddedEventLoop.run()
        #expect(channel.isActive == (count == 63))
        _ = try channel.finish(acceptAlreadyClosed: true)
        #expect(try outcome.wait() == .handshakeFailed)
    }

    /// What a router may do wrong behind TLS.
    enum Fault: CaseIterable, Sendable {
        case none, netInfoOnACircuit, otherCircuit, otherIdentity, otherOnionKey, changedAnswer, bytesBehindAnswer
    }

    @Test(
        "only who proves the keys of the descriptor, on the probe's own circuit, is reached", arguments: Fault.allCases)
    func proof(_ fault: Fault) throws {
        let identity = Ed25519PrivateKey().publicKey
        let onionKey = X25519PrivateKey()
        let channel = EmbeddedChannel()
        let outcome = channel.eventLoop.makePromise(of: ProbeOutcome.self)
        let named = fault == .otherIdentity ? Ed25519PrivateKey().publicKey : identity
        let asked = fault == .otherOnionKey ? X25519PrivateKey() : onionKey
        let client = CircuitHandshake.Client(identity: named, onionKey: asked.publicKey)
        try channel.pipeline.syncOperations.addHandler(ProbeHandler(handshake: client, outcome: outcome))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        channel.pipeline.fireUserInboundEventTriggered(TLSUserEvent.handshakeCompleted(negotiatedProtocol: nil))
        #expect(try channel.readOutbound(as: ByteBuffer.self)?.readableBytes == Cell.byteCount)

        func answer(_ command: CellCommand, _ circuit: UInt32, _ body: [UInt8]) throws {
            var cell = ByteBuffer()
            cell.writeMultipleIntegers(circuit, command.rawValue)
            cell.writeBytes(body)
            cell.writeRepeatingByte(0, count: Cell.byteCount - cell.readableBytes)
            try channel.writeInbound(cell)
        }
        var netInfo = ByteBuffer()
        NetInfo(unixTime: 1, observedAddress: .v4(0x7f00_0001)).write(to: &netInfo)
        try answer(.netInfo, fault == .netInfoOnACircuit ? 1 : 0, Array(buffer: netInfo))

        // The circuit's id is what the probe's Create begins with. What was sent to another is answered as it was asked.
        let create = try channel.readOutbound(as: ByteBuffer.self)
        let circuit = create?.getInteger(at: 0, as: UInt32.self) ?? 0
        let honest = CircuitHandshake.Client(identity: identity, onionKey: onionKey.publicKey)
        let isFor = fault == .otherIdentity || fault == .otherOnionKey
        let server = CircuitHandshake.Server(identity: identity, onionKeys: [onionKey])
        var created = try server.respond(to: isFor ? honest.create : client.create).created
        if fault == .changedAnswer { created[created.count - 1] ^= 1 }
        if fault == .bytesBehindAnswer { created.append(1) }
        try answer(.created, fault == .otherCircuit ? circuit ^ 1 : circuit, created)
        #expect(try outcome.futureResult.wait() == (fault == .none ? .completed : .handshakeFailed))
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
