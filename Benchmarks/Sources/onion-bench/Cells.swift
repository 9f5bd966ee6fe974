import NIOCore
import OnionCells
@_spi(Testing) import OnionCrypto
@_spi(Benchmark) import OnionLink

/// Relay messages in a cell, and a read's worth of cells through an OR.
func measureCells(_ meter: inout Meter) throws {
    var payload = [UInt8](repeating: 0, count: Cell.payloadByteCount)
    let data = [UInt8](repeating: 0x61, count: 1_000)
    let stream = StreamID(rawValue: 7)
    meter.measure("cells", "pack two Data messages") {
        var bytes = payload.mutableSpan
        var span = bytes.mutableBytes
        var writer = RelayMessageWriter(leavesUnguessableTail: true)
        writer.append(.data, streamID: stream, data: data.span.bytes, into: &span)
        writer.append(.data, streamID: stream, data: data.span.bytes, into: &span)
        use(writer.finish(&span))
    }
    try meter.measure("cells", "walk two Data messages") {
        var walker = RelayMessageWalker()
        while let message = try walker.next(in: payload.span.bytes) { use(message.data.lowerBound) }
    }
    var padding = PaddingSource()
    meter.measure("cells", "fill 2 KiB with padding") {
        var bytes = payload.mutableSpan
        var span = bytes.mutableBytes
        padding.fill(&span)
    }
    let cipher = try need(HopCipher(keyBytes: [UInt8](repeating: 3, count: HopCipher.keyByteCount)), "a cipher")
    for cellCount in [1, 8, 32] {
        var batch = RelayedBatch(cellCount: cellCount)
        meter.measure("link", "walk and copy, \(cellCount) cells a read, per cell", per: cellCount) {
            use(batch.relay(with: nil))
        }
        meter.measure("link", "relay in an OR, \(cellCount) cells a read, per cell", per: cellCount) {
            use(batch.relay(with: cipher))
        }
    }
}
