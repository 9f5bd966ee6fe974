package import NIOCore
package import OnionCells

/// Whole cells, back to back, as one read brought them; walked and changed in place.
///
/// The one file of this module that touches unsafe memory. The bytes belong to the batch's owner for the length of the
/// call in which it got the batch: the TLS handler that made the buffer keeps a second reference to it, but has set its
/// own indices back to empty and overwrites the bytes at its next read. So they may be changed without the copy that
/// ByteBuffer would make, and nothing may keep a slice of them.
package struct CellBatch: ~Copyable {
    private var buffer: ByteBuffer

    /// - Parameter buffer: its readable bytes are taken up to the last whole cell.
    init(wholeCellsOf buffer: ByteBuffer) {
        self.buffer = buffer
        self.buffer.moveWriterIndex(to: buffer.readerIndex + self.cellCount * Cell.byteCount)
    }

    package var cellCount: Int { self.buffer.readableBytes / Cell.byteCount }

    /// Call `body` with each cell: its header, and the whole cell (header included) for reading and writing in place.
    package mutating func forEachCell<E: Error>(
        _ body: (CellHeader, inout MutableRawSpan) throws(E) -> Void
    ) throws(E) {
        let start = self.buffer.readerIndex
        let count = self.cellCount
        var failure: E?
        // The mutable variant of this would copy all, for the handler's second reference.
        self.buffer.withVeryUnsafeBytes { bytes in
            let storage = UnsafeMutableRawBufferPointer(mutating: bytes)
            // `start + count * byteCount` is within the buffer's writer index: see the initialiser.
            for index in 0..<count {
                let cell = UnsafeMutableRawBufferPointer(
                    rebasing: storage[(start + index * Cell.byteCount)..<(start + (index + 1) * Cell.byteCount)])
                var span = cell.mutableBytes
                do throws(E) {
                    try body(CellHeader(of: span.bytes), &span)
                } catch {
                    failure = error
                    return
                }
            }
        }
        if let failure { throw failure }
    }
}

extension ByteBuffer {
    /// Append one cell and let `fill` write all of it.
    ///
    /// - Parameter fill: gets ``Cell/byteCount`` bytes of unknown content.
    /// - Returns: how many bytes may now be read.
    @discardableResult
    package mutating func appendCell(_ fill: (inout MutableRawSpan) -> Void) -> Int {
        self.writeWithUnsafeMutableBytes(minimumWritableBytes: Cell.byteCount) { storage in
            let cell = UnsafeMutableRawBufferPointer(rebasing: storage[..<Cell.byteCount])
            var span = cell.mutableBytes
            fill(&span)
            return Cell.byteCount
        }
        return self.readableBytes
    }

    /// Append a cell that was read. Returns how many bytes may now be read.
    @discardableResult
    package mutating func appendCell(_ cell: RawSpan) -> Int {
        self.writeBytes(cell)
        return self.readableBytes
    }
}
