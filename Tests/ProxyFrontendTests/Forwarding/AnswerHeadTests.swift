import NIOCore
import Testing

@testable import ProxyFrontend

@Suite("Head of a forwarded answer")
struct AnswerHeadTests {
    /// What goes on of an answer that comes in pieces of `size`.
    private func pass(_ answer: String, in size: Int) -> String {
        var head = AnswerHead()
        var passed = ByteBuffer()
        let bytes = Array(answer.utf8)
        for start in stride(from: 0, to: bytes.count, by: size) {
            passed.writeImmutableBuffer(head.received(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)])))
        }
        passed.writeImmutableBuffer(head.ended())
        return String(buffer: passed)
    }

    @Test("says that the connection will be closed, in whatever pieces it comes", arguments: [1, 2, 3, 7, 19, 1000])
    func closes(size: Int) {
        #expect(
            self.pass("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", in: size)
                == "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        #expect(self.pass("HTTP/1.0 204 None\r\n\r\n", in: size) == "HTTP/1.0 204 None\r\nConnection: close\r\n\r\n")
    }

    @Test("lines may end in LF alone", arguments: [1, 2, 3, 1000])
    func lineFeeds(size: Int) {
        #expect(
            self.pass("HTTP/1.1 200 OK\nA: b\n\nhello", in: size)
                == "HTTP/1.1 200 OK\nA: b\nConnection: close\r\n\nhello")
        #expect(
            self.pass("HTTP/1.1 200 OK\nA: b\n\r\nhello", in: size)
                == "HTTP/1.1 200 OK\nA: b\nConnection: close\r\n\r\nhello")
        // Not held to the end, which may be far.
        var head = AnswerHead()
        _ = head.received(ByteBuffer(string: "HTTP/1.1 200 OK\n\r\r\n\n"))
        #expect(head.isOver)
    }

    @Test("leaves an answer that says so as it is")
    func closesAlready() {
        let answer = "HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 5\r\n\r\nhello"
        #expect(self.pass(answer, in: 7) == answer)
    }

    @Test("leaves interim answers as they are, and waits for the one that follows", arguments: [1, 5, 1000])
    func interim(size: Int) {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        #expect(
            self.pass(interim + "HTTP/1.1 200 OK\r\n\r\nx", in: size)
                == interim + "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx")
        let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
        #expect(self.pass(upgrade, in: size) == upgrade)
    }

    @Test("what is no answer in HTTP, too long a head, or cut off passes as it is", arguments: [1, 1000, 50_000])
    func others(size: Int) {
        for answer in [
            "<html>HTTP/0.9\r\n\r\n", "", "HTT", "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 70_000) + "\r\n\r\nbody",
        ] where size > 1 || answer.count < 1000 {
            #expect(self.pass(answer, in: size) == answer)
        }
    }

    @Test("a head at the limit is held, and gets its field; what is not whole at the limit passes as it is")
    func limit() {
        let start = "HTTP/1.1 200 OK\r\nX: "
        let room = AnswerHead.byteLimit - start.utf8.count
        func head(_ byteCount: Int, _ end: String) -> String {
            start + String(repeating: "x", count: room - end.utf8.count + byteCount) + end
        }
        let whole = head(0, "\r\n\r\n")
        #expect(self.pass(whole, in: whole.utf8.count) == whole.dropLast() + "Connection: close\r\n\r\n")
        let long = head(1, "\r\n\r\n")
        #expect(self.pass(long, in: long.utf8.count) == long)
        var held = AnswerHead()
        #expect(held.received(ByteBuffer(string: head(-1, ""))).readableBytes == 0)
        #expect(held.received(ByteBuffer(string: "x")).readableBytes == AnswerHead.byteLimit)
        #expect(held.isOver)
    }

    @Test("interim answers without end are not gathered, in whatever pieces they come", arguments: [1, 25, 33, 4096])
    func interimFlood(size: Int) {
        let flood = ByteBuffer(repeating: 0, count: 0)
        var head = AnswerHead()
        var (rest, passedByteCount, capacity) = (flood, 0, 0)
        let interim = "HTTP/1.1 100 Continue\r\n\r\n"
        for _ in 0..<200_000 where !head.isOver {
            rest.writeString(interim)
            while rest.readableBytes >= size, let piece = rest.readSlice(length: size) {
                passedByteCount += head.received(piece).readableBytes
                capacity = max(capacity, head.heldCapacity)
            }
        }
        #expect(head.isOver && head.heldCapacity == 0)
        #expect(passedByteCount % size == 0 && passedByteCount <= AnswerHead.byteLimit + 4096)
        #expect(capacity <= 2 * AnswerHead.byteLimit)
    }

    @Test("interim answers and a head that are at the limit together are held; one byte more passes as it is")
    func interimLimit() {
        let interim = String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 2000)
        let (start, end) = ("HTTP/1.1 200 OK\r\nX: ", "\r\n\r\n")
        let room = AnswerHead.byteLimit - interim.utf8.count - start.utf8.count - end.utf8.count
        let whole = interim + start + String(repeating: "x", count: room) + end
        let long = interim + start + String(repeating: "x", count: room + 1) + end
        for size in [7, 100_000] {
            #expect(self.pass(whole, in: size) == whole.dropLast() + "Connection: close\r\n\r\n")
            #expect(self.pass(long, in: size) == long)
        }
    }

    @Test("holds no byte back that it need not")
    func atOnce() {
        var head = AnswerHead()
        #expect(head.received(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n")).readableBytes == 25)
        #expect(head.received(ByteBuffer(string: "HTTP/1.1 200 OK\r\n")).readableBytes == 0)
        #expect(String(buffer: head.received(ByteBuffer(string: "\r\nab"))).hasSuffix("\r\n\r\nab"))
        #expect(String(buffer: head.received(ByteBuffer(string: "cd"))) == "cd")
    }
}
