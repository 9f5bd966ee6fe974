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

    /// Room for as many cells as a link writes at once, so that a busy turn does not grow it step by step.
    private static func makeBuffer() -> ByteBuffer { ByteBufferAllocator().buffer(capacity: 64 * 1024) }

    mutating func append(_ cell: RawSpan, to target: LinkHandle) {
        if let index = self.indices[target.key] { return self.batches[index].cells.appendCell(cell) }
        self.indices[target.key] = self.batches.count
        self.batches.append((target, Self.makeBuffer()))
        self.batches[self.batches.count - 1].cells.appendCell(cell)
    }

    /// Hand over what waits. What is executed on a target's loop after this comes behind its cells.
    mutating func flush() {
        for (target, cells) in self.batches {
            target.loop.eventLoop.execute { target.bound.value.send(batch: cells) }
        }
        self.batches.removeAll(keepingCapacity: true)
        self.indices.removeAll(keepingCapacity: true)
    }
}
