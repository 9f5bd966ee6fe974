internal import NIOCore

/// Adds `Connection: close` to the head of an origin's answer that does not say it, whatever pieces it comes in, and leaves
/// the rest as it is. Lines end in LF, with or without CR before it.
///
/// An origin that was asked to close need not say that it will. A program that is not told may send its next request on the
/// same connection, and lose it when that is closed.
///
///     head ── whole, 1xx ──▶ head        (the answer proper is still to come)
///       └─ whole, or not HTTP, or longer than the limit with all 1xx before it ──▶ rest
///
/// - Source: RFC 9112 §2.2, §9.3, §9.6
struct AnswerHead: Equatable {
    /// `head` has all that has come, of which the readable part has not gone on.
    private enum State: Equatable { case head(ByteBuffer), rest }
    private var state = State.head(ByteBuffer())
    /// Of the head that is held: what is known not to hold its end. A head may come byte by byte.
    private var searchedByteCount = 0

    /// Whether everything that comes passes as it is from now on.
    var isOver: Bool { self.state == .rest }

    /// How many bytes of memory it has.
    var heldCapacity: Int { if case .head(let held) = self.state { held.capacity } else { 0 } }

    /// What is longer, heads of interim answers included, passes as it is: an origin may send those for ever.
    static let byteLimit = 64 * 1024
    private static let prefix = Array("HTTP/".utf8)
    private static let addition = "Connection: close\r\n"

    /// Take the next bytes of the answer; return those that can go on, which may be none.
    mutating func received(_ bytes: ByteBuffer) -> ByteBuffer {
        guard case .head(var held) = self.state else { return bytes }
        self.state = .rest
        held.writeImmutableBuffer(bytes)
        var ready = ByteBuffer()
        while true {
            let view = held.readableBytesView
            guard view.starts(with: Self.prefix.prefix(view.count)) else { break }
            guard let length = self.headByteCount(view) else {
                guard held.writerIndex < Self.byteLimit else { break }
                self.state = .head(held)
                return ready
            }
            guard held.readerIndex + length <= Self.byteLimit, let head = held.readSlice(length: length) else { break }
            let status = head.readableBytesView.dropFirst(Self.prefix.count + 4).prefix(3)
            let isSwitch = status.elementsEqual(Array("101".utf8))
            // 101 ends HTTP on the connection; other 1xx are followed by another head.
            if status.first == UInt8(ascii: "1"), !isSwitch {
                ready.writeImmutableBuffer(head)
                continue
            }
            if isSwitch || Self.saysClose(head) {
                ready.writeImmutableBuffer(head)
            } else {
                let view = head.readableBytesView
                let emptyLine = view.suffix(2).first == UInt8(ascii: "\r") ? 2 : 1
                ready.writeBytes(view.dropLast(emptyLine))
                ready.writeString(Self.addition)
                ready.writeBytes(view.suffix(emptyLine))
            }
            break
        }
        ready.writeBuffer(&held)
        return ready
    }

    /// The answer is over: return what was held, as it is.
    mutating func ended() -> ByteBuffer {
        guard case .head(let held) = self.state else { return ByteBuffer() }
        self.state = .rest
        return held
    }

    private static func saysClose(_ head: ByteBuffer) -> Bool {
        String(buffer: head).lowercased().contains("\r\n" + Self.addition.lowercased())
    }

    /// How long the head is, its empty line included; nil while it is not whole.
    private mutating func headByteCount(_ view: ByteBufferView) -> Int? {
        // The end of the line before may be among what is known.
        let start = max(0, self.searchedByteCount - 2)
        // 1 behind the end of a line, 2 behind a CR after it.
        var matched = 0
        for (index, byte) in view.dropFirst(start).enumerated() {
            switch byte {
            case UInt8(ascii: "\n") where matched > 0:
                self.searchedByteCount = 0
                return start + index + 1
            case UInt8(ascii: "\n"): matched = 1
            case UInt8(ascii: "\r") where matched == 1: matched = 2
            default: matched = 0
            }
        }
        self.searchedByteCount = view.count
        return nil
    }
}
