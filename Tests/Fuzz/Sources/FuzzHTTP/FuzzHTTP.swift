import NIOCore

@testable import ProxyFrontend

/// HTTP through the proxy: a program's request on its way to an origin, and the origin's answer on its way back. The first
/// byte says which, the second how large the pieces are in which it comes; then the bytes themselves.
enum FuzzHTTP {
    /// Returns whether the bytes are a request that goes on, or an answer that is changed.
    static func feed(_ bytes: [UInt8]) -> Bool {
        guard bytes.count > 2 else { return false }
        let pieceByteCount = max(1, Int(bytes[1]))
        let stream = Array(bytes.dropFirst(2))
        return bytes[0] & 1 == 0 ? Self.forward(stream, pieceByteCount) : Self.answer(stream, pieceByteCount)
    }

    // MARK: Requests

    private static func forward(_ stream: [UInt8], _ pieceByteCount: Int) -> Bool {
        let whole = ForwardedRequest(of: stream, pieceByteCount: stream.count)
        let pieces = ForwardedRequest(of: stream, pieceByteCount: pieceByteCount)
        whole.check()
        pieces.check()
        precondition(whole.head == pieces.head, "a head depends on how it arrives")
        // Of a request that cannot be read to its end, as much goes on as came before that was seen.
        if !whole.isBroken, !pieces.isBroken {
            precondition(whole.body == pieces.body, "a body depends on how it arrives")
        }
        return whole.head != nil
    }

    // MARK: Answers

    private static func answer(_ stream: [UInt8], _ pieceByteCount: Int) -> Bool {
        let whole = Self.passed(stream, stream.count)
        precondition(Self.passed(stream, pieceByteCount) == whole, "an answer depends on how it arrives")
        let addition = Array("Connection: close\r\n".utf8)
        guard whole.count != stream.count else {
            precondition(whole == stream, "an answer is changed")
            return false
        }
        // Something was added, once, and before the first end of a head that is no 1xx.
        precondition(whole.count == stream.count + addition.count, "more is added to an answer than one field")
        let place = zip(whole, stream).prefix { $0 == $1 }.count
        let isOneField = (max(0, place - addition.count)...place).contains { start in
            whole[start...].starts(with: addition)
                && whole[..<start] + whole[(start + addition.count)...] == stream[...]
        }
        precondition(isOneField, "something else is added to an answer")
        return true
    }

    private static func passed(_ stream: [UInt8], _ pieceByteCount: Int) -> [UInt8] {
        var head = AnswerHead()
        var passed: [UInt8] = []
        for start in stride(from: 0, to: stream.count, by: pieceByteCount) {
            let piece = stream[start..<min(stream.count, start + pieceByteCount)]
            passed += Array(buffer: head.received(ByteBuffer(bytes: piece)))
        }
        return passed + Array(buffer: head.ended())
    }

    static var seeds: [[UInt8]] {
        let requests = [
            "GET http://example.org:8080/a?b=c#d HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n",
            "POST http://u:p@[2a00:1::1]/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic eDp5\r\nContent-Length: 3\r\n\r\nabc",
            "POST http://a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nThor-Exit: x\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
            "OPTIONS http://example.org HTTP/1.0\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\nVia: b\r\n\r\n",
            "GET http://a/1 HTTP/1.1\r\nHost: a\r\n\r\nGET http://b/2 HTTP/1.1\r\nHost: b\r\n\r\n",
        ]
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.0 204 No Content\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n",
        ]
        return requests.map { [0, 7] + Array($0.utf8) } + answers.map { [1, 3] + Array($0.utf8) }
    }
}
