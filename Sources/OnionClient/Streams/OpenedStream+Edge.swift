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
                channel.eventLoop.flatSubmit {
                    channel.eventLoop.makeCompletedFuture {
                        do {
                            try channel.pipeline.syncOperations.addHandler(StreamEdge(stream: bound.value))
                        } catch {
                            // The application has gone meanwhile.
                            bound.value.end(.reset)
                            channel.close(promise: nil)
                            throw error
                        }
                    }
                }
            },
            discard: { eventLoop.execute { bound.value.end(.reset) } })
    }
}
