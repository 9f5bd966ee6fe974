package import NIOCore
import NIOPosix
package import OnionCells

/// The edge where a TCP socket meets a stream; used by exit and proxy alike.
///
/// Reads the socket only while the stream has room, writes what the stream brings in one piece a turn of the loop, or in
/// larger ones while the socket does not keep up, and keeps the two ends alike: a half-close becomes End Finished and
/// back, a reset a reset. The last bytes are written before anything is closed.
///
/// The channel must be on the circuit's event loop, set up by ``configure(_:)``, and its last handler is this.
///
/// - Source: DESIGN §7 *Edges*
package final class StreamEdge: ChannelInboundHandler {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    private let stream: OnionStream
    private let onClosed: @Sendable () -> Void
    private var context: ChannelHandlerContext?
    /// What the stream brought in this turn, and what came before and is too little for another write.
    private(set) var incoming = ByteBuffer()
    private var isFlushScheduled = false
    private var isReadPending = false
    private var outputState = OutputState.open
    private var isStreamOver = false
    private var isAttached = false
    private var isInputClosed = false
    /// Bytes on their way to the socket.
    private var unwrittenByteCount = 0
    private var lingerTimer: Scheduled<Void>?

    /// What is to follow the bytes that are on their way to the socket.
    private enum OutputState { case open, closing, closed }

    /// How much NIO asks the socket for at once: as much as a stream says in its longest turn.
    package static let readByteCount = 128 * 1024
    /// While a write is under way, less than this waits for its end: a write takes memory of its own, and nobody counts
    /// more than its bytes. More need not wait, so that the stream hears of its bytes as the socket takes them.
    static let fullWriteByteCount = 16 * 1024
    /// NIO reads a socket to its end once the peer has closed, reads paused or not; this bounds what arrives then.
    private static let receiveBufferByteCount = 512 * 1024
    /// Streams of one circuit share its window, so what waits in front of it is of no use beyond a window or two: it only
    /// costs memory, and is out of the processor's caches when its turn comes.
    private static let receiveBufferByteCountOfCircuit = 4 * 1024 * 1024
    private static let smallestReceiveBufferByteCount = 64 * 1024
    /// With more streams than this, their circuit's share is felt, and a socket of the proxy is set up anew.
    package static let manyStreams = 16

    /// How much the kernel should hold for a stream's socket, as SO_RCVBUF.
    ///
    /// - Parameter streamCount: streams of its circuit, itself included.
    package static func receiveBufferByteCount(streamCount: Int) -> Int {
        let fair = Self.receiveBufferByteCountOfCircuit / max(1, streamCount)
        return min(Self.receiveBufferByteCount, max(Self.smallestReceiveBufferByteCount, fair))
    }

    /// Set up a channel that a stream is to flow through, before it is active: reads by need, half-closure, bounded buffers.
    package static func configure(_ channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        try options.setOption(.autoRead, value: false)
        try options.setOption(.allowRemoteHalfClosure, value: true)
        try options.setOption(.maxMessagesPerRead, value: 1)
        try options.setOption(
            .recvAllocator,
            value: AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 2048, maximum: Self.readByteCount))
    }

    /// Make the edge of a stream whose socket is ready.
    ///
    /// - Parameter onClosed: called once, when the socket is closed.
    package init(stream: OnionStream, onClosed: @escaping @Sendable () -> Void = {}) {
        self.stream = stream
        self.onClosed = onClosed
    }

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.attach() }
    }

    /// A channel that was active when the edge was added may say so once more.
    private func attach() {
        guard !self.isAttached else { return }
        self.isAttached = true
        // Should this process die now, the kernel tells the peer of a reset, and not of an end.
        if let context { Self.setReset(true, onClosing: context.channel) }
        self.stream.attach(self)
    }

    package func channelActive(context: ChannelHandlerContext) {
        self.attach()
        context.fireChannelActive()
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        self.incoming = ByteBuffer()
        self.lingerTimer?.cancel()
        self.lingerTimer = nil
        // The connection was lost before it was any use.
        if !self.isAttached { self.stream.end(.reset) }
        self.stream.socketClosed()
        self.onClosed()
    }

    // MARK: The socket

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.stream.send(self.unwrapInboundIn(data))
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        self.isReadPending = false
        if self.stream.hasRoom { self.read() }
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event as? ChannelEvent {
        case .inputClosed:
            self.isInputClosed = true
            self.stream.finish()
        case .outputClosed, nil: context.fireUserInboundEventTriggered(event)
        }
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A broken connection is a reset at both ends.
        self.stream.end(.reset)
        self.reset()
    }

    package func channelInactive(context: ChannelHandlerContext) {
        // With the output closed in order, NIO says the end of the input by closing the channel; and with both closed,
        // what the socket gave may still wait for cells. Anything else is a connection that broke.
        if case .closed = self.outputState, self.unwrittenByteCount == 0 {
            self.stream.finish()
        } else {
            self.stream.end(.reset)
        }
        context.fireChannelInactive()
    }

    private func read() {
        guard let context, !self.isReadPending else { return }
        self.isReadPending = true
        context.read()
    }

    private func scheduleFlush() {
        guard !self.isFlushScheduled, let context else { return }
        self.isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.execute { bound.value.flush() }
    }

    private func flush() {
        self.isFlushScheduled = false
        guard let context else { return }
        if self.mayWrite { self.write(context) }
        if case .closing = self.outputState { self.closeOutput() }
    }

    /// Whether what has come is to be written now. The last bytes are: nothing follows that could join them.
    private var mayWrite: Bool {
        guard self.incoming.readableBytes > 0 else { return false }
        if case .closing = self.outputState { return true }
        return self.unwrittenByteCount == 0 || self.incoming.readableBytes >= Self.fullWriteByteCount
    }

    private func write(_ context: ChannelHandlerContext) {
        let bytes = self.incoming
        let byteCount = bytes.readableBytes
        self.incoming = ByteBuffer()
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        self.unwrittenByteCount += byteCount
        written.futureResult.whenSuccess { bound.value.written(byteCount: byteCount) }
        context.writeAndFlush(self.wrapOutboundOut(bytes), promise: written)
    }

    /// The kernel took the oldest write.
    private func written(byteCount: Int) {
        self.unwrittenByteCount -= byteCount
        self.stream.drained(byteCount: byteCount)
        self.endInOrderOnceWritten()
        self.flush()
    }

    /// Close what the far end has closed. Bytes written before leave first: NIO closes a direction only behind them,
    /// unless the other is closed already: then it would close the whole channel at once.
    private func closeOutput() {
        guard let context else { return }
        self.outputState = .closed
        self.endInOrderOnceWritten()
        if self.isStreamOver || self.isInputClosed {
            self.closeAfterWrites(context)
        } else {
            context.channel.close(mode: .output, promise: nil)
        }
    }

    /// With the last byte in its hands, the kernel may tell the peer of an end in order.
    private func endInOrderOnceWritten() {
        guard let context, case .closed = self.outputState, self.unwrittenByteCount == 0 else { return }
        Self.setReset(false, onClosing: context.channel)
    }

    private func closeAfterWrites(_ context: ChannelHandlerContext) {
        guard self.lingerTimer == nil else { return }
        if self.unwrittenByteCount == 0 { return context.close(promise: nil) }
        let edge = NIOLoopBound(self, eventLoop: context.eventLoop)
        // The application may never take the last bytes, and nobody else would ever close its socket.
        self.lingerTimer = context.eventLoop.scheduleTask(in: self.stream.halfClosedIdle) { edge.value.reset() }
        // An empty write completes when all before it have.
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in bound.value.close(promise: nil) }
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer()), promise: written)
    }

    /// Close the connection so that the peer sees a reset, and never a short but proper end.
    private func reset() {
        guard let context else { return }
        Self.setReset(true, onClosing: context.channel)
        context.close(promise: nil)
    }

    /// Close a connection that has come to nothing so that its peer sees a reset.
    package static func reset(_ channel: any Channel) {
        Self.setReset(true, onClosing: channel)
        channel.close(promise: nil)
    }

    /// Say what the peer sees when the socket is closed, by us or, when the process has died, by the kernel. Whoever closes
    /// an edge's channel by himself, in order, says so before.
    package static func setReset(_ isReset: Bool, onClosing channel: any Channel) {
        // 0 seconds of linger: RST.
        (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: isReset ? 1 : 0, l_linger: 0))
            .whenComplete { _ in }
    }
}

extension StreamEdge: StreamSink {
    package func streamReceived(_ data: RawSpan) {
        guard self.context != nil else { return self.stream.drained(byteCount: data.byteCount) }
        // The first bytes get what they need: they may be alone for long. Behind the second there will be more.
        let byteCount = self.incoming.readableBytes
        if byteCount > 0, byteCount + data.byteCount > self.incoming.capacity {
            self.incoming.reserveCapacity(min(3 * (byteCount + data.byteCount), Self.fullWriteByteCount))
        }
        self.incoming.writeBytes(data)
        self.scheduleFlush()
    }

    package func streamFinished() {
        guard case .open = self.outputState else { return }
        self.outputState = .closing
        self.scheduleFlush()
    }

    package func streamHasRoom() {
        guard let context else { return }
        // Not from within the packing of a cell: the read may bring the next bytes at once.
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.execute { bound.value.read() }
    }

    package func streamEnded(_ reason: EndReason) {
        self.isStreamOver = true
        switch reason {
        case .finished:
            if case .closed = self.outputState {
                if let context { self.closeAfterWrites(context) }
            } else {
                self.outputState = .closing
                self.scheduleFlush()
            }
        default: self.reset()
        }
    }
}

@available(*, unavailable)
extension StreamEdge: Sendable {}
