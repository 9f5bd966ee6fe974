import NIOCore
import OnionCells
import OnionStreams

extension OpenedStream {
    /// Make one of a stream that is connected.
    init(_ stream: OnionStream, connected: Connected, eventLoop: any EventLoop) {
        let bound = NIOLoopBound(stream, eventLoop: eventLoop)
        self.init(
            connected: connected,
            attach: { channel in
                channel.eventLoop.makeCompletedFuture {
                    if bound.value.siblingCount > StreamEdge.manyStreams {
                        // Accepted sockets have their buffer from the listener, which did not know. A channel without such an
                        // option has no buffer either.
                        let byteCount = StreamEdge.receiveBufferByteCount(streamCount: bound.value.siblingCount)
                        try? channel.syncOptions?.setOption(
                            .socketOption(.so_rcvbuf), value: ChannelOptions.Types.SocketOption.Value(byteCount))
                    }
                    do {
                        try channel.pipeline.syncOperations.addHandler(StreamEdge(stream: bound.value))
                    } catch {
                        // The application has gone meanwhile.
                        bound.value.end(.reset)
                        channel.close(promise: nil)
                        throw error
                    }
                }
            },
            discard: { eventLoop.execute { bound.value.end(.reset) } })
    }
}
