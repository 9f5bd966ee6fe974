import NIOCore

/// Bytes whose value tells their place and whose they are, so that loss, doubling, order and mixing all show.
struct Pattern {
    let owner: Int
    private static let period = 65_521
    private static let bytes: [UInt8] = (0..<2 * period).map {
        UInt8(truncatingIfNeeded: ($0 % period) &* 2_654_435_761 >> 7)
    }

    func buffer(from offset: Int, count: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        var offset = offset + self.owner * 997
        while buffer.readableBytes < count {
            let start = offset % Self.period
            let piece = min(count - buffer.readableBytes, Self.period)
            buffer.writeBytes(Self.bytes[start..<start + piece])
            offset += piece
        }
        return buffer
    }

    func matches(_ bytes: ByteBuffer, at offset: Int) -> Bool {
        bytes == self.buffer(from: offset, count: bytes.readableBytes)
    }
}
