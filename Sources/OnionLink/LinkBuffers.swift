import NIOCore
import OnionCells

/// How much a link reads and writes at once.
///
/// TLS keeps its buffers as large as they once were until the connection closes. So a link begins with what costs no more
/// than an idle one, one record of TLS each way. One that carries bulk is for larger buffers, where its owner says so: a
/// read brings many cells, and a batch is one write.
///
/// - Source: DESIGN §8
package enum LinkBuffers: Sendable {
    case small
    case large

    /// What TLS and the socket may keep for a link with large buffers, beside what an idle one takes: 256 KiB each for what
    /// is read and for what is written.
    package static let largeByteCount = 512 * 1024

    /// Bytes that one read brings at the most.
    var readByteCount: Int {
        switch self {
        case .small: 16 * 1024
        case .large: 128 * 1024
        }
    }

    /// A batch of this size goes to TLS at once, in bytes: whole cells.
    var fullBatchByteCount: Int {
        switch self {
        // What fits into one record.
        case .small: 7 * Cell.byteCount
        // More than what one read of a link or of a socket brings, so that the read's last cells need no write of their own.
        case .large: self.readByteCount + 16 * 1024
        }
    }

    var writeWatermarks: ChannelOptions.Types.WriteBufferWaterMark {
        switch self {
        case .small: .init(low: 8 * 1024, high: 32 * 1024)
        case .large: .init(low: 32 * 1024, high: 128 * 1024)
        }
    }

    /// What a connection that takes no more may hold itself: up to its high watermark, and one batch.
    var blockedByteCount: Int { self.writeWatermarks.high + self.fullBatchByteCount }

    var receiveAllocator: any RecvByteBufferAllocator {
        AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 8192, maximum: self.readByteCount)
    }

    func set(on channel: any Channel) {
        // A connection that closes has no use for them.
        try? channel.syncOptions?.setOption(.writeBufferWaterMark, value: self.writeWatermarks)
        try? channel.syncOptions?.setOption(.recvAllocator, value: self.receiveAllocator)
    }
}
