import NIOCore
import NIOTLS
import OnionCells
import OnionCrypto

/// Completes one circuit handshake over one link and says whether the router proved its keys.
///
///     connecting ──connected──▶ tls ──handshakeCompleted──▶ netInfo ──NetInfo──▶ created ──Created──▶ finished
///
/// Anything else that comes, or the end of the connection, finishes it with ``ProbeOutcome/handshakeFailed``; without a
/// connection with ``ProbeOutcome/unreachable``. So do more cells than an answer takes: a router whose word is padding must
/// not fill memory. Lives on its channel's event loop.
final class ProbeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case connecting, tls, netInfo, created, finished
    }

    /// Two are needed; what comes beside them is padding and Pings.
    static let cellCountLimit = 64

    private let handshake: CircuitHandshake.Client
    private let circuit: CircuitID
    private let outcome: EventLoopPromise<ProbeOutcome>
    private var state = State.connecting
    private var received = ByteBuffer()
    private var cellCount = 0

    /// What of the router's bytes is in memory, read or not.
    var keptByteCount: Int { self.received.writerIndex }

    /// - Parameter outcome: succeeds once, with what was found.
    init(handshake: CircuitHandshake.Client, outcome: EventLoopPromise<ProbeOutcome>) {
        self.handshake = handshake
        self.outcome = outcome
        var circuits = CircuitIDAllocator(isDialler: true)
        self.circuit = circuits.allocate() ?? .link
    }

    func channelActive(context: ChannelHandlerContext) {
        if self.state == .connecting { self.state = .tls }
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted = event as? TLSUserEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        guard case .tls = self.state else { return self.finish(context, .handshakeFailed) }
        self.state = .netInfo
        var body = ByteBuffer()
        NetInfo.anonymous.write(to: &body)
        self.send(.netInfo, circuit: .link, body: body, context: context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard self.state != .finished else { return }
        var bytes = self.unwrapInboundIn(data)
        self.received.writeBuffer(&bytes)
        while let cell = self.received.readSlice(length: Cell.byteCount) {
            self.cellCount += 1
            guard self.cellCount <= Self.cellCountLimit else { return self.finish(context, .handshakeFailed) }
            self.cellReceived(cell, context: context)
        }
        self.received.discardReadBytes()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.finish(context, .handshakeFailed)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.finish(context, .handshakeFailed) }

    func handlerRemoved(context: ChannelHandlerContext) { self.finish(context, .handshakeFailed) }

    private func cellReceived(_ cell: ByteBuffer, context: ChannelHandlerContext) {
        let header = CellHeader(of: cell.readableBytesSpan)
        var body = cell
        body.moveReaderIndex(forwardBy: Cell.headerByteCount)
        switch (self.state, header.command) {
        case (.netInfo, .netInfo):
            guard header.circuitID == .link else { return self.finish(context, .handshakeFailed) }
            self.state = .created
            self.send(
                .create, circuit: self.circuit, body: ByteBuffer(bytes: self.handshake.create), context: context)
        case (.created, .created):
            guard header.circuitID == self.circuit,
                let created = try? HandshakeBody.created(in: body.readableBytesSpan),
                (try? self.handshake.complete(created: created)) != nil
            else { return self.finish(context, .handshakeFailed) }
            self.finish(context, .completed)
        case (.created, .ping), (.created, .padding), (.finished, _): break
        case (.connecting, _), (.tls, _), (.netInfo, _), (.created, _): self.finish(context, .handshakeFailed)
        }
    }

    private func send(_ command: CellCommand, circuit: CircuitID, body: ByteBuffer, context: ChannelHandlerContext) {
        var cell = context.channel.allocator.buffer(capacity: Cell.byteCount)
        cell.writeMultipleIntegers(circuit.rawValue, command.rawValue)
        cell.writeImmutableBuffer(body)
        cell.writeRepeatingByte(0, count: Cell.byteCount - cell.readableBytes)
        context.writeAndFlush(self.wrapOutboundOut(cell), promise: nil)
    }

    private func finish(_ context: ChannelHandlerContext, _ found: ProbeOutcome) {
        guard self.state != .finished else { return }
        // Who asked may hear of the handler's end before he hears that there was no connection.
        let found = self.state == .connecting ? .unreachable : found
        self.state = .finished
        self.outcome.succeed(found)
        context.close(promise: nil)
    }
}

@available(*, unavailable)
extension ProbeHandler: Sendable {}
