import NIOCore

@testable import OnionClient
@testable import ProxyFrontend

/// The proxy's one port: SOCKS5, SOCKS4 and HTTP, whole and in pieces; open, and with a password.
enum FuzzSOCKS {
    /// Returns whether the bytes end in a request.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var isAccepted = false
        for access in [ProxyAccess.open, .password(Array("word".utf8))] {
            let whole = Self.actions(of: [bytes[...]], access)
            // Short inputs byte by byte. Long ones in at most 64 pieces: what is read again with each would add up.
            let pieceByteCount = max(1, bytes.count / 64)
            let pieces = stride(from: 0, to: bytes.count, by: pieceByteCount).map {
                bytes[$0..<min($0 + pieceByteCount, bytes.count)]
            }
            precondition(Self.actions(of: pieces, access) == whole, "a handshake depends on how it arrives")
            guard case .request(let request) = whole.last else { continue }
            isAccepted = true
            _ = try? request.exitWish()
            _ = request.target.destination
        }
        return isAccepted
    }

    /// What a handshake asks for, without the waiting, up to its last action.
    private static func actions(of parts: [ArraySlice<UInt8>], _ access: ProxyAccess) -> [HandshakeAction] {
        var handshake = ProxyHandshake(access: access)
        var buffer = ByteBuffer()
        var actions: [HandshakeAction] = []
        for part in parts {
            buffer.writeBytes(part)
            reading: while true {
                let action = handshake.next(from: &buffer)
                switch action {
                case .wait: break reading
                case .send: actions.append(action)
                case .request, .finish, .close:
                    actions.append(action)
                    precondition(handshake.next(from: &buffer) == .close, "a handshake goes on after its end")
                    return actions
                }
            }
            precondition(
                buffer.readableBytes <= ProxyHandshake.maximumPendingByteCount,
                "a handshake waits with too much unread")
        }
        return actions
    }

    static var seeds: [[UInt8]] {
        func text(_ text: String) -> [UInt8] { Array(text.utf8) }
        func named(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
        let open: [UInt8] = [5, 1, 0]
        let account: [UInt8] = [5, 2, 0, 2, 1]
        return [
            open + [5, 1, 0, 3] + named("example.org") + [1, 187], open + [5, 1, 0, 1, 5, 6, 7, 8, 0, 80],
            open + [5, 1, 0, 4, 0x2a, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 187],
            open + [5, 0xf0, 0, 3] + named("example.org") + [0, 0], open + [5, 0xf1, 0, 1, 5, 6, 7, 8, 0, 0],
            open + [5, 0xf1, 0, 3] + named("5.6.7.8") + [0, 0],
            account + named("country-se+alice") + named("word") + [5, 1, 0, 3] + named("example.org") + [1, 187],
            account + named("") + named("") + [5, 1, 0, 3] + named("example.org") + [1, 187],
            account + named("exit-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") + named("word")
                + [5, 1, 0, 1, 5, 6, 7, 8, 0, 80],
            [4, 1, 1, 187, 5, 6, 7, 8] + text("user\0"),
            [4, 1, 1, 187, 0, 0, 0, 1] + text("country-de\0example.org\0"),
            [4, 0xf0, 0, 0, 0, 0, 0, 1] + text("\0example.org\0"),
            text("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"),
            text("CONNECT [2a00:1::1]:443 HTTP/1.0\nThor-Country: not-us\nThor-Exit: x\n\nahead"),
            text("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic YWxpY2U6d29yZA==\r\nThor-Country: se\r\n\r\n"),
            text("GET http://example.org:8080/a?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n"),
            text("POST http://[2a00:1::1]/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Bearer x\r\n\r\nabc"),
        ]
    }
}
