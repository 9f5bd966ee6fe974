import NIOCore
import OnionCells
import OnionLink

/// A link as circuits name it that may live on another event loop.
struct LinkHandle: Sendable {
    let key: ObjectIdentifier
    let loop: RouterLoop.Reference
    let bound: NIOLoopBound<Link>

    init(_ link: Link, on loop: RouterLoop) {
        self.key = ObjectIdentifier(link)
        self.loop = loop.reference
        self.bound = NIOLoopBound(link, eventLoop: link.eventLoop)
    }
}

/// Cells that one event loop has for links of other loops: they cross in batches, in order, at the end of the turn.
///
/// Bound to the loop that the cells come from.
struct CrossLoopCells {
    /// In the order of their first cells.
    private var batches: [(target: LinkHandle, cells: ByteBuffer)] = []
    private var indices: [ObjectIdentifier: Int] = [:]
    /// Where the last cell is: the next one most often belongs there too.
    private var lastIndex = 0
    /// How large the last batch was: the next begins with room for as much, so that a busy turn does not grow it step
    /// by step, nor a single cell take a busy turn's memory.
    private var expectedByteCount = 0

    mutating func append(_ cell: RawSpan, to target: LinkHandle) {
        if self.lastIndex >= self.batches.count || self.batches[self.lastIndex].target.key != target.key {
            self.lastIndex = self.index(of: target)
        }
        self.batches[self.lastIndex].cells.appendCell(cell)
    }

    private mutating func index(of target: LinkHandle) -> Int {
        if let index = self.indices[target.key] { return index }
        let index = self.batches.count
        self.indices[target.key] = index
        self.batches.append((target, ByteBufferAllocator().buffer(capacity: self.expectedByteCount)))
        return index
    }

    /// Hand over what waits. What is executed on a target's loop after this comes behind its cells.
    mutating func flush() {
        for (target, cells) in self.batches {
            self.expectedByteCount = cells.readableBytes
            target.loop.eventLoop.execute { target.bound.value.send(batch: cells) }
        }
        self.batches.removeAll(keepingCapacity: true)
        self.indices.removeAll(keepingCapacity: true)
    }
}
