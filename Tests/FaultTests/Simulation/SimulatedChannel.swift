import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// One end of a simulated TCP connection, with what NIO's socket channels do and the code under test relies on: reads by
/// need, watermarks, half-closure, resets, and writes that complete when the socket takes them.
final class SimulatedChannel: Channel, ChannelCore, SocketOptionProvider, @unchecked Sendable {
    // @unchecked: as the simulation.

    struct Options {
        var readsByItself = true
        var allowsHalfClosure = false
        /// How much one read brings.
        var readByteCount = 64 * 1024
        var lowWatermark = 64 * 1024
        var highWatermark = 256 * 1024
    }

    let name: String
    let loop: SimulatedLoop
    private let options: Options
    private let closePromise: EventLoopPromise<Void>
    lazy var pipeline = ChannelPipeline(channel: self)
    /// To the peer. Nothing is sent before there is one.
    var outgoing: Pipe?
    private(set) var isActive = false
    private(set) var isWritable = true
    private(set) var isOpen = true
    let allocator = ByteBufferAllocator()
    let localAddress: SocketAddress? = nil
    let remoteAddress: SocketAddress?
    let parent: (any Channel)? = nil

    // Output.
    private var unflushed: [(ByteBuffer, EventLoopPromise<Void>?)] = []
    private var flushed: [(ByteBuffer, EventLoopPromise<Void>?)] = []
    private var waitingByteCount = 0
    private var isOutputClosing = false
    private var isOutputClosed = false
    private var isDraining = false
    private var lingersNot = false
    private var hasSent = false

    // Input.
    private var received = ByteBuffer()
    private var isReadWanted = false
    private var isEndReceived = false
    private var isInputClosed = false
    private var isDeliveryScheduled = false

    init(_ name: String, on loop: SimulatedLoop, options: Options = Options(), remoteAddress: SocketAddress? = nil) {
        self.name = name
        self.loop = loop
        self.options = options
        self.remoteAddress = remoteAddress
        self.closePromise = loop.makePromise()
    }

    var eventLoop: any EventLoop { self.loop }
    var closeFuture: EventLoopFuture<Void> { self.closePromise.futureResult }
    var _channelCore: any ChannelCore { self }

    /// The connection stands.
    func activate() {
        guard self.isOpen else { return }
        self.isActive = true
        self.pipeline.syncOperations.fireChannelActive()
        if self.options.readsByItself { self.pipeline.syncOperations.read() }
    }

    // MARK: From the peer

    func arrived(_ bytes: ByteBuffer) {
        guard self.isOpen else {
            // A socket that is closed answers with a reset.
            self.outgoing?.reset()
            return
        }
        self.received.writeImmutableBuffer(bytes)
        self.scheduleDelivery()
    }

    func endArrived() {
        guard self.isOpen else { return }
        self.isEndReceived = true
        self.scheduleDelivery()
    }

    func resetArrived() {
        guard self.isOpen else { return }
        self.received.clear()
        let error = IOError(errnoCode: ECONNRESET, reason: "read")
        self.pipeline.syncOperations.fireErrorCaught(error)
        self.close0(error: error, mode: .all, promise: nil)
    }

    private func scheduleDelivery() {
        guard !self.isDeliveryScheduled, self.isActive else { return }
        // NIO reads a socket to its end once the peer has closed, reads paused or not.
        guard self.isEndReceived || (self.isReadWanted && self.received.readableBytes > 0) else { return }
        self.isDeliveryScheduled = true
        self.loop.execute { self.deliver() }
    }

    private func deliver() {
        self.isDeliveryScheduled = false
        guard self.isActive, !self.isInputClosed else { return }
        let count = min(self.received.readableBytes, self.options.readByteCount)
        if count > 0, let bytes = self.received.readSlice(length: count) {
            self.received.discardReadBytes()
            self.isReadWanted = false
            self.outgoing?.opposite?.taken(count)
            self.pipeline.syncOperations.fireChannelRead(NIOAny(bytes))
            self.pipeline.syncOperations.fireChannelReadComplete()
            if self.options.readsByItself, self.isActive { self.pipeline.syncOperations.read() }
            return self.scheduleDelivery()
        }
        guard self.isEndReceived else { return }
        self.isInputClosed = true
        if self.options.allowsHalfClosure, !self.isOutputClosed {
            self.pipeline.syncOperations.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            self.pipeline.syncOperations.fireChannelReadComplete()
        } else {
            self.close0(error: ChannelError.eof, mode: .all, promise: nil)
        }
    }

    // MARK: To the peer

    func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard self.isOpen else { return self.fail(promise, ChannelError.ioOnClosedChannel) }
        guard !self.isOutputClosing else { return self.fail(promise, ChannelError.outputClosed) }
        let bytes = self.unwrapData(data, as: ByteBuffer.self)
        self.unflushed.append((bytes, promise))
        self.waitingByteCount += bytes.readableBytes
        guard self.isWritable, self.waitingByteCount > self.options.highWatermark else { return }
        self.isWritable = false
        self.pipeline.syncOperations.fireChannelWritabilityChanged()
    }

    private func fail(_ promise: EventLoopPromise<Void>?, _ error: any Error) { promise?.fail(error) }

    func flush0() {
        self.flushed += self.unflushed
        self.unflushed = []
        self.drain()
    }

    /// Give the connection what it takes.
    func drain() {
        guard self.isOpen, self.isActive, !self.isDraining, let outgoing else { return }
        self.isDraining = true
        while self.isOpen, var (bytes, promise) = self.flushed.first {
            if bytes.readableBytes > 0 {
                let count = min(bytes.readableBytes, outgoing.room)
                guard count > 0, let slice = bytes.readSlice(length: count) else { break }
                self.waitingByteCount -= count
                self.hasSent = true
                outgoing.send(slice)
            }
            if bytes.readableBytes > 0 {
                self.flushed[0] = (bytes, promise)
            } else {
                self.flushed.removeFirst()
                promise?.succeed(())
                promise = nil
            }
        }
        self.isDraining = false
        guard self.isOpen else { return }
        if self.isOutputClosing, !self.isOutputClosed, self.flushed.isEmpty { self.finishOutput() }
        guard !self.isWritable, self.waitingByteCount < self.options.lowWatermark else { return }
        self.isWritable = true
        self.pipeline.syncOperations.fireChannelWritabilityChanged()
    }

    private func finishOutput() {
        self.isOutputClosed = true
        self.outgoing?.finish()
        self.pipeline.syncOperations.fireUserInboundEventTriggered(ChannelEvent.outputClosed)
    }

    func read0() {
        self.isReadWanted = true
        self.scheduleDelivery()
    }

    func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard self.isOpen else { return self.fail(promise, ChannelError.alreadyClosed) }
        switch mode {
        case .input: return self.fail(promise, ChannelError.operationUnsupported)
        case .output:
            guard !self.isOutputClosing else { return self.fail(promise, ChannelError.outputClosed) }
            guard !self.isInputClosed else { return self.close0(error: error, mode: .all, promise: promise) }
            self.isOutputClosing = true
            promise?.succeed(())
            return self.drain()
        case .all: break
        }
        let wasActive = self.isActive
        self.isOpen = false
        self.isActive = false
        let waiting = self.flushed + self.unflushed
        self.flushed = []
        self.unflushed = []
        for (_, promise) in waiting { self.fail(promise, error) }
        // As a kernel does: bytes that nobody has read make a close a reset.
        if self.lingersNot || self.received.readableBytes > 0 {
            self.outgoing?.reset()
        } else if !self.isOutputClosed {
            self.outgoing?.finish()
        }
        promise?.succeed(())
        if wasActive { self.pipeline.syncOperations.fireChannelInactive() }
        self.pipeline.syncOperations.fireChannelUnregistered()
        self.loop.execute {
            self.removeHandlers(pipeline: self.pipeline)
            self.closePromise.succeed(())
        }
    }

    /// Whether the peer sees a reset when the kernel closes the socket of a process that has died.
    ///
    /// Of a connection that has carried nothing yet, an end in order says nothing either.
    var diesWithReset: Bool { self.lingersNot || self.received.readableBytes > 0 || !self.hasSent }

    /// Close at once, and with a reset.
    func abort() {
        self.lingersNot = true
        self.close0(error: ChannelError.ioOnClosedChannel, mode: .all, promise: nil)
    }

    // MARK: What nothing here needs

    func localAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
    func remoteAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
    func register0(promise: EventLoopPromise<Void>?) { promise?.succeed(()) }
    func registerAlreadyConfigured0(promise: EventLoopPromise<Void>?) { promise?.succeed(()) }
    func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        self.fail(promise, ChannelError.operationUnsupported)
    }
    func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        self.fail(promise, ChannelError.operationUnsupported)
    }
    func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) {
        self.fail(promise, ChannelError.operationUnsupported)
    }
    func channelRead0(_ data: NIOAny) {}
    func errorCaught0(error: any Error) {}

    func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<Void> {
        self.loop.makeSucceededVoidFuture()
    }
    func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
        self.loop.makeFailedFuture(ChannelError.operationUnsupported)
    }

    func unsafeSetSocketOption<Value: Sendable>(
        level: SocketOptionLevel, name: SocketOptionName, value: Value
    ) -> EventLoopFuture<Void> {
        if let value = value as? linger { self.lingersNot = value.l_onoff != 0 && value.l_linger == 0 }
        return self.loop.makeSucceededVoidFuture()
    }
    func unsafeSetSocketOption<Value: Sendable>(
        level: NIOBSDSocket.OptionLevel, name: NIOBSDSocket.Option, value: Value
    ) -> EventLoopFuture<Void> {
        self.unsafeSetSocketOption(level: SocketOptionLevel(level.rawValue), name: name.rawValue, value: value)
    }
    func unsafeGetSocketOption<Value: Sendable>(
        level: SocketOptionLevel, name: SocketOptionName
    ) -> EventLoopFuture<Value> {
        self.loop.makeFailedFuture(ChannelError.operationUnsupported)
    }
    func unsafeGetSocketOption<Value: Sendable>(
        level: NIOBSDSocket.OptionLevel, name: NIOBSDSocket.Option
    ) -> EventLoopFuture<Value> {
        self.loop.makeFailedFuture(ChannelError.operationUnsupported)
    }
}
