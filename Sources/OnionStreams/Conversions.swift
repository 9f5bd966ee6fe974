import NIOCore
package import OnionCells
package import OnionCircuits

extension ByteBuffer {
    /// A copy of a message's data, for messages that are not on the path of bulk data.
    init(_ data: RawSpan) {
        self.init()
        self.writeBytes(data)
    }
}

extension CircuitError {
    /// Decode a message's data; what does not decode may not be said.
    package static func decoding<T>(
        _ command: RelayCommand, _ decode: () throws(CellError) -> T
    ) throws(CircuitError) -> T {
        do throws(CellError) { return try decode() } catch { throw .messageNotAllowed(command) }
    }
}

extension EndReason {
    /// Decode the data of an End.
    init(data: ByteBuffer) throws(CircuitError) {
        guard let byte = data.getInteger(at: data.readerIndex, as: UInt8.self), data.readableBytes == 1 else {
            throw .messageNotAllowed(.end)
        }
        self.init(wire: byte)
    }
}

extension RelayMessageWalker {
    /// The next message, with the format's errors as the circuit's.
    package mutating func nextMessage(in payload: RawSpan) throws(CircuitError) -> RelayMessageHeader? {
        do throws(CellError) { return try self.next(in: payload) } catch { throw .malformedCell(error) }
    }
}
