internal import NIOCore
internal import OnionAddress
internal import OnionCells

/// The server's side of a SOCKS5 handshake up to the request; the reply is ``SOCKS5Reply``'s.
///
///     greeting ──no account──────────────▶ request ──▶ finished
///        └─────account chosen──▶ account ────┘
///
///     greeting   version 5 | count u8 | methods           answer  5 | method, or 255: none is acceptable
///     account    version 1 | length u8 | name | length u8 | password      answer  1 | 0, or else refused
///     request    version 5 | command | 0 | address type | address | port u16
///
/// Whenever the application offers to send an account it is asked to, because names and passwords keep applications'
/// streams on separate circuits. Names and passwords of no bytes are taken, although RFC 1929 has none: Java sends them. The
/// reserved byte of the request is not looked at.
///
/// - Source: RFC 1928; RFC 1929; Tor socks-extensions (RESOLVE, RESOLVE_PTR)
struct SOCKS5Handshake: Sendable {
    static let version: UInt8 = 5
    /// The longest single message: an account with two fields of 255 bytes.
    static let maximumPendingByteCount = 3 + 255 + 255

    private static let accountVersion: UInt8 = 1
    private static let withoutAccount: UInt8 = 0
    private static let withAccount: UInt8 = 2
    private static let noMethod: UInt8 = 0xFF

    private enum State {
        case greeting
        case account
        case request(ProxyCredentials)
        case finished
    }
    private enum Command: UInt8 { case connect = 1, bind = 2, udpAssociate = 3, resolve = 0xF0, resolveReverse = 0xF1 }
    private enum AddressType: UInt8 { case v4 = 1, name = 3, v6 = 4 }
    private enum Host { case address(IPAddress), name([UInt8]) }

    private let access: ProxyAccess
    private var state: State = .greeting

    init(access: ProxyAccess) { self.access = access }

    /// Take the next message from the front of `buffer`, if it is whole.
    mutating func next(from buffer: inout ByteBuffer) -> HandshakeAction {
        switch self.state {
        case .greeting: return self.readGreeting(&buffer)
        case .account: return self.readAccount(&buffer)
        case .request(let credentials): return self.readRequest(&buffer, credentials)
        case .finished: return .close
        }
    }

    private mutating func readGreeting(_ buffer: inout ByteBuffer) -> HandshakeAction {
        let start = buffer.readerIndex
        guard let version = buffer.getInteger(at: start, as: UInt8.self) else { return .wait }
        guard version == Self.version else { return self.finish(.close) }
        guard let count = buffer.getInteger(at: start + 1, as: UInt8.self),
            let methods = buffer.getBytes(at: start + 2, length: Int(count))
        else { return .wait }
        buffer.moveReaderIndex(forwardBy: 2 + Int(count))
        if methods.contains(Self.withAccount) {
            self.state = .account
            return .send(ByteBuffer(bytes: [Self.version, Self.withAccount]))
        }
        if methods.contains(Self.withoutAccount), self.access.admits(.none) {
            self.state = .request(.none)
            return .send(ByteBuffer(bytes: [Self.version, Self.withoutAccount]))
        }
        return self.finish(.finish(ByteBuffer(bytes: [Self.version, Self.noMethod])))
    }

    private mutating func readAccount(_ buffer: inout ByteBuffer) -> HandshakeAction {
        let start = buffer.readerIndex
        guard let version = buffer.getInteger(at: start, as: UInt8.self) else { return .wait }
        guard version == Self.accountVersion else { return self.finish(.finish(Self.accountAnswer(accepted: false))) }
        guard let nameCount = buffer.getInteger(at: start + 1, as: UInt8.self),
            let name = buffer.getBytes(at: start + 2, length: Int(nameCount)),
            let passwordCount = buffer.getInteger(at: start + 2 + name.count, as: UInt8.self),
            let password = buffer.getBytes(at: start + 3 + name.count, length: Int(passwordCount))
        else { return .wait }
        buffer.moveReaderIndex(forwardBy: 3 + name.count + password.count)
        let credentials = ProxyCredentials(username: name, password: password)
        guard self.access.admits(credentials) else {
            return self.finish(.finish(Self.accountAnswer(accepted: false)))
        }
        self.state = .request(credentials)
        return .send(Self.accountAnswer(accepted: true))
    }

    private static func accountAnswer(accepted: Bool) -> ByteBuffer {
        ByteBuffer(bytes: [Self.accountVersion, accepted ? 0 : 1])
    }

    private mutating func readRequest(_ buffer: inout ByteBuffer, _ credentials: ProxyCredentials) -> HandshakeAction {
        let start = buffer.readerIndex
        guard let version = buffer.getInteger(at: start, as: UInt8.self) else { return .wait }
        guard version == Self.version else { return self.refuse(.generalFailure) }
        guard let commandByte = buffer.getInteger(at: start + 1, as: UInt8.self) else { return .wait }
        guard let command = Command(rawValue: commandByte) else { return self.refuse(.commandNotSupported) }
        switch command {
        case .bind, .udpAssociate: return self.refuse(.commandNotSupported)
        case .connect, .resolve, .resolveReverse: break
        }
        guard let typeByte = buffer.getInteger(at: start + 3, as: UInt8.self) else { return .wait }
        guard let type = AddressType(rawValue: typeByte) else { return self.refuse(.addressTypeNotSupported) }

        var rest = buffer
        rest.moveReaderIndex(forwardBy: 4)
        guard let host = Self.readHost(&rest, type), let port = rest.readInteger(as: UInt16.self) else { return .wait }
        buffer.moveReaderIndex(to: rest.readerIndex)

        switch command {
        case .connect: return self.connect(host, port, credentials)
        case .resolve: return self.resolve(host, credentials)
        case .resolveReverse: return self.resolveReverse(host, credentials)
        case .bind, .udpAssociate: return self.refuse(.commandNotSupported)
        }
    }

    private static func readHost(_ buffer: inout ByteBuffer, _ type: AddressType) -> Host? {
        switch type {
        case .v4: return buffer.readInteger(as: UInt32.self).map { .address(.v4($0)) }
        case .v6:
            guard let (hi, lo) = buffer.readMultipleIntegers(as: (UInt64, UInt64).self) else { return nil }
            return .address(.v6(hi: hi, lo: lo))
        case .name:
            guard let count = buffer.readInteger(as: UInt8.self) else { return nil }
            return buffer.readBytes(length: Int(count)).map { .name($0) }
        }
    }

    private mutating func connect(_ host: Host, _ port: UInt16, _ credentials: ProxyCredentials) -> HandshakeAction {
        guard port != 0 else { return self.refuse(.generalFailure) }
        switch host {
        case .address(let address): return self.request(.connect(host: HostText.text(address), port: port), credentials)
        case .name(let bytes):
            guard let name = HostText.name(bytes) else { return self.refuse(.generalFailure) }
            return self.request(.connect(host: name, port: port), credentials)
        }
    }

    private mutating func resolve(_ host: Host, _ credentials: ProxyCredentials) -> HandshakeAction {
        switch host {
        // An address is its own answer; no exit needs to hear of it.
        case .address(let address): return self.finish(.finish(SOCKS5Reply.resolved(.address(address))))
        case .name(let bytes):
            guard let name = HostText.name(bytes) else { return self.refuse(.generalFailure) }
            if let address = IPAddress(name) { return self.finish(.finish(SOCKS5Reply.resolved(.address(address)))) }
            return self.request(.lookUp(.addresses(of: name)), credentials)
        }
    }

    private mutating func resolveReverse(_ host: Host, _ credentials: ProxyCredentials) -> HandshakeAction {
        switch host {
        case .address(let address): return self.request(.lookUp(.name(of: address)), credentials)
        case .name(let bytes):
            guard let address = HostText.name(bytes).flatMap({ IPAddress($0) }) else {
                return self.refuse(.addressTypeNotSupported)
            }
            return self.request(.lookUp(.name(of: address)), credentials)
        }
    }

    private mutating func request(_ target: ProxyRequest.Target, _ credentials: ProxyCredentials) -> HandshakeAction {
        self.finish(.request(ProxyRequest(proxyProtocol: .socks5, target: target, credentials: credentials)))
    }

    private mutating func refuse(_ reply: SOCKS5Reply) -> HandshakeAction { self.finish(.finish(reply.bytes)) }

    private mutating func finish(_ action: HandshakeAction) -> HandshakeAction {
        self.state = .finished
        return action
    }
}
