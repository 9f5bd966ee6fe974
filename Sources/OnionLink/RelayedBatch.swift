import NIOCore
import OnionCells
public import OnionCrypto

/// What an OR does to the cells of one read, without socket and TLS: walks them in place, adds its layer, writes the new
/// circuit id over the old, and appends them to the outgoing batch. For `Benchmarks`, which counts time and allocations.
///
/// - Source: DESIGN §2, `@_spi(Benchmark)`; §8
@_spi(Benchmark) public struct RelayedBatch {
    /// How many cells a call of ``relay(with:)`` passes on.
    public let cellCount: Int

    private let incoming: ByteBuffer
    private var outgoing: OutgoingCells
    private let nextID = CircuitID(rawValue: 2)

    public init(cellCount: Int) {
        self.cellCount = cellCount
        var buffer = ByteBuffer()
        for _ in 0..<cellCount {
            buffer.appendCell { CellHeader(circuitID: CircuitID(rawValue: 1), command: .relay).write(to: &$0) }
        }
        self.incoming = buffer
        self.outgoing = OutgoingCells(limits: LinkLimits(queuedCellsPerCircuit: 1, queuedCellsPerLink: 1))
        self.outgoing.isBlocked = false
    }

    /// Pass the batch on once.
    ///
    /// - Parameter cipher: nil walks and copies only.
    /// - Returns: how many bytes went out.
    public mutating func relay(with cipher: HopCipher?) -> Int {
        var cells = CellBatch(wholeCellsOf: self.incoming)
        cells.forEachCell { header, cell in
            if let cipher {
                var body = cell._mutatingExtracting(Cell.headerByteCount..<Cell.byteCount)
                cipher.backward(command: header.rawCommand, body: &body)
            }
            CellHeader(circuitID: self.nextID, command: .relay).write(to: &cell)
            _ = self.outgoing.append(circuit: self.nextID, cell: cell.bytes)
        }
        let byteCount = self.outgoing.takeBatch()?.readableBytes ?? 0
        return byteCount
    }
}
