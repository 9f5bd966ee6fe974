internal import NIOCore

/// Counts the bytes of one application's connection; first in its pipeline.
///
/// An event a read or write of the socket, so of many cells: it costs nothing to speak of.
final class TrafficHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    private let meter: NIOLoopBoundBox<TrafficMeter>

    /// - Parameter meter: on the channel's event loop.
    init(meter: NIOLoopBoundBox<TrafficMeter>) { self.meter = meter }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.meter.value.count(in: 0, out: Self.unwrapInboundIn(data).readableBytes, now: context.eventLoop.now)
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        self.meter.value.count(in: Self.unwrapOutboundIn(data).readableBytes, out: 0, now: context.eventLoop.now)
        context.write(data, promise: promise)
    }
}

@available(*, unavailable)
extension TrafficHandler: Sendable {}
