internal import NIOCore
internal import OnionAddress
internal import OnionCells

/// The server's side of a SOCKS4 or 4a handshake: one request; the reply is ``SOCKS4Reply``'s.
///
///     version 4 | command | port u16 | address u32 | user id | 0          and for 4a, address 0.0.0.x with x ≠ 0:  name | 0
///
/// - Source: SOCKS4, SOCKS4a (OpenSSH and Tor agree on them); Tor socks-extensions (RESOLVE)
struct SOCKS4Handshake: Sendable {
    static let version: UInt8 = 4
    static let maximumUserIDByteCount = 1024
    /// A request with the longest user id and name, their terminators included.
    static let maximumPendingByteCount = 8 + Self.maximumUserIDByteCount + 1 + Begin.maximumHostByteCount + 1

    private enum Command: UInt8 { case connect = 1, bind = 2, resolve = 0xF0 }
    private enum State { case request, finished }

    private let access: ProxyAccess
    private var state: State = .request

    init(access: ProxyAccess) { self.access = access }

    /// Take the request from the front of `buffer`, if it is whole.
    mutating func next(from buffer: inout ByteBuffer) -> HandshakeAction {
        switch self.state {
        case .request: break
        case .finished: return .close
        }
        var rest = buffer
        guard let (version, command, port, address) = rest.readMultipleIntegers(as: (UInt8, UInt8, UInt16, UInt32).self)
        else { return .wait }
        guard version == Self.version else { return self.finish(.close) }
        // The protocol has no place for a password.
        guard self.access.admits(.none), let command = Command(rawValue: command) else { return self.refuse() }
        switch command {
        case .bind: return self.refuse()
        case .connect, .resolve: break
        }

        let userID: [UInt8]
        switch Self.readTerminated(&rest, limit: Self.maximumUserIDByteCount) {
        case .incomplete: return .wait
        case .tooLong: return self.refuse()
        case .bytes(let bytes): userID = bytes
        }
        let host: String
        if (1...0xFF).contains(address) {
            switch Self.readTerminated(&rest, limit: Begin.maximumHostByteCount) {
            case .incomplete: return .wait
            case .tooLong: return self.refuse()
            case .bytes(let bytes):
                guard let name = HostText.name(bytes) else { return self.refuse() }
                host = name
            }
        } else {
            host = "\(IPAddress.v4(address))"
        }
        buffer.moveReaderIndex(to: rest.readerIndex)

        let credentials = ProxyCredentials(username: userID.isEmpty ? nil : userID, password: nil)
        let target: ProxyRequest.Target
        switch command {
        case .connect:
            guard port != 0 else { return self.refuse() }
            target = .connect(host: host, port: port)
        case .resolve:
            if let address = IPAddress(host) { return self.finish(.finish(SOCKS4Reply.resolved(address))) }
            target = .lookUp(.addresses(of: host))
        case .bind: return self.refuse()
        }
        return self.finish(
            .request(ProxyRequest(proxyProtocol: .socks4, target: target, credentials: credentials)))
    }

    private enum Terminated { case incomplete, tooLong, bytes([UInt8]) }

    /// Read up to a NUL, which is taken too.
    private static func readTerminated(_ buffer: inout ByteBuffer, limit: Int) -> Terminated {
        let view = buffer.readableBytesView.prefix(limit + 1)
        guard let end = view.firstIndex(of: 0) else { return view.count > limit ? .tooLong : .incomplete }
        let bytes = Array(view[..<end])
        buffer.moveReaderIndex(to: end + 1)
        return .bytes(bytes)
    }

    private mutating func refuse() -> HandshakeAction { self.finish(.finish(SOCKS4Reply.rejected.bytes)) }

    private mutating func finish(_ action: HandshakeAction) -> HandshakeAction {
        self.state = .finished
        return action
    }
}
