internal import NIOCore

/// The handshake of the one port: the first byte tells which protocol the rest is.
///
///     undecided ──5──▶ socks5 ─┐
///         ├──────4──▶ socks4 ─┼─▶ finished
///         ├────A–Z──▶ http ───┘      ▲
///         └────else──────────────────┘
///
/// The caller owns the bytes: it appends what arrives to a buffer and calls ``next(from:)`` until that says
/// ``HandshakeAction/wait``. No handshake leaves more than ``maximumPendingByteCount`` bytes unread while it waits.
///
/// - Source: DESIGN §10
struct ProxyHandshake: Sendable {
    /// The most that any handshake keeps in the buffer while it waits for more.
    static let maximumPendingByteCount = max(
        SOCKS5Handshake.maximumPendingByteCount, SOCKS4Handshake.maximumPendingByteCount,
        HTTPHandshake.maximumHeadByteCount)

    private enum State {
        case undecided(ProxyAccess)
        case socks5(SOCKS5Handshake)
        case socks4(SOCKS4Handshake)
        case http(HTTPHandshake)
        case finished
    }
    private var state: State

    init(access: ProxyAccess) { self.state = .undecided(access) }

    /// Take from the front of `buffer` what makes up the next step, and say what to do.
    ///
    /// - Parameter buffer: all that has arrived and was not taken yet.
    /// - Returns: the one thing to do now. After a final action, calls say ``HandshakeAction/close``.
    mutating func next(from buffer: inout ByteBuffer) -> HandshakeAction {
        switch self.state {
        case .undecided(let access):
            guard let first = buffer.getInteger(at: buffer.readerIndex, as: UInt8.self) else { return .wait }
            switch first {
            case SOCKS5Handshake.version: self.state = .socks5(SOCKS5Handshake(access: access))
            case SOCKS4Handshake.version: self.state = .socks4(SOCKS4Handshake(access: access))
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): self.state = .http(HTTPHandshake(access: access))
            default:
                self.state = .finished
                return .close
            }
            return self.next(from: &buffer)
        case .socks5(var handshake):
            let action = handshake.next(from: &buffer)
            return self.note(action, continuing: .socks5(handshake))
        case .socks4(var handshake):
            let action = handshake.next(from: &buffer)
            return self.note(action, continuing: .socks4(handshake))
        case .http(var handshake):
            let action = handshake.next(from: &buffer)
            return self.note(action, continuing: .http(handshake))
        case .finished: return .close
        }
    }

    private mutating func note(_ action: HandshakeAction, continuing state: State) -> HandshakeAction {
        switch action {
        case .wait, .send: self.state = state
        case .request, .finish, .close: self.state = .finished
        }
        return action
    }
}
