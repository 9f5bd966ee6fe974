import Glibc
import NIOCore
import OnionCells
import OnionCircuits

@testable import OnionStreams

/// A stream's socket that checks what it is told: bytes come in order and whole, and nothing after an end.
final class WatchedSocket: StreamSink {
    private let stream: OnionStream
    private var receivedCount = 0
    private var undrainedCount = 0
    private var sentCount = 0
    private var isFinished = false
    private var isEnded = false
    private var isClosed = false

    init(_ stream: OnionStream) { self.stream = stream }

    func send(byteCount: Int) {
        guard !self.isEnded, !self.isClosed, self.stream.hasRoom else { return }
        self.stream.send(ByteBuffer(bytes: Pattern.bytes(from: self.sentCount, count: byteCount)))
        self.sentCount += byteCount
    }

    func finish() {
        guard !self.isEnded, !self.isClosed else { return }
        self.stream.finish()
    }

    func drain(byteCount: Int) {
        let byteCount = min(byteCount, self.undrainedCount)
        guard byteCount > 0, !self.isClosed else { return }
        self.undrainedCount -= byteCount
        self.stream.drained(byteCount: byteCount)
    }

    /// The connection is lost, with what it had still to take.
    func close() {
        guard !self.isClosed else { return }
        self.isClosed = true
        self.undrainedCount = 0
        self.stream.end(.reset)
        self.stream.socketClosed()
    }

    func streamReceived(_ data: RawSpan) {
        precondition(!self.isFinished && !self.isEnded, "bytes come after the end")
        precondition(Pattern.matches(data, at: self.receivedCount), "bytes are lost or out of order")
        self.receivedCount += data.byteCount
        // A closed socket takes no more, and says so at once.
        if self.isClosed {
            self.stream.drained(byteCount: data.byteCount)
        } else {
            self.undrainedCount += data.byteCount
        }
    }

    func streamFinished() {
        precondition(!self.isFinished && !self.isEnded, "a stream finishes twice")
        self.isFinished = true
    }

    func streamHasRoom() { precondition(!self.isEnded, "a stream that is over has room") }

    func streamEnded(_ reason: EndReason) {
        // Once more when the bytes that it has still to take are given up.
        precondition(!self.isEnded || reason == .resourceLimit, "a stream ends twice")
        self.isEnded = true
    }
}

/// What either end sends, by the place in its stream.
enum Pattern {
    private static let period = 65_521
    private static let twice = (0..<2 * period).map { UInt8(truncatingIfNeeded: $0 % period &* 2_654_435_761 >> 7) }

    /// At most a period of it.
    static func bytes(from offset: Int, count: Int) -> ArraySlice<UInt8> {
        Self.twice[offset % Self.period..<offset % Self.period + count]
    }

    static func matches(_ data: RawSpan, at offset: Int) -> Bool {
        data.withUnsafeBytes { data in
            stride(from: 0, to: data.count, by: Self.period).allSatisfy { start in
                let piece = UnsafeRawBufferPointer(rebasing: data[start..<min(start + Self.period, data.count)])
                let expected = Self.bytes(from: offset + start, count: piece.count)
                // A comparison in Swift would be traced byte by byte, and take most of the time.
                return expected.withUnsafeBytes { expected in
                    guard let one = piece.baseAddress, let other = expected.baseAddress else { return true }
                    return memcmp(one, other, piece.count) == 0
                }
            }
        }
    }
}
