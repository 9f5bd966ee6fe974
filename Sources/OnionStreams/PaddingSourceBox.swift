package import OnionCells
import OnionCrypto

/// One event loop's source of padding, shared by the circuits that live there.
package final class PaddingSourceBox {
    private var source = PaddingSource()

    package init() {}

    package func fill(_ span: inout MutableRawSpan) { self.source.fill(&span) }

    /// Fill a cell's payload with one message and random bytes behind it: Extend, Extended, Truncated travel so.
    ///
    /// - Precondition: the data fits a message.
    package func pack(
        _ command: RelayCommand, streamID: StreamID, data: [UInt8], into payload: inout MutableRawSpan
    ) {
        var writer = RelayMessageWriter(leavesUnguessableTail: false)
        writer.append(command, streamID: streamID, data: data.span.bytes, into: &payload)
        guard let rest = writer.finish(&payload) else { return }
        var tail = payload._mutatingExtracting(rest)
        self.source.fill(&tail)
    }
}

@available(*, unavailable)
extension PaddingSourceBox: Sendable {}
