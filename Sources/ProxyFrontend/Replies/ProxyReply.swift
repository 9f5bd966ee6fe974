internal import NIOCore
internal import OnionAddress
internal import OnionCells
internal import OnionClient

/// The bytes that end a handshake, in the protocol that the application speaks.
enum ProxyReply {
    /// The stream is open.
    static func connected(_ proxyProtocol: ProxyProtocol) -> ByteBuffer {
        switch proxyProtocol {
        case .socks5: SOCKS5Reply.succeeded.bytes
        case .socks4: SOCKS4Reply.granted.bytes
        case .http: HTTPReply.established
        // The origin answers for itself.
        case .forward: ByteBuffer()
        }
    }

    /// There is no stream, or no answer.
    static func failed(_ proxyProtocol: ProxyProtocol, _ failure: StreamFailure) -> ByteBuffer {
        switch proxyProtocol {
        case .socks5: SOCKS5Reply(failure).bytes
        case .socks4: SOCKS4Reply(failure).bytes
        case .http, .forward: HTTPReply(failure).bytes
        }
    }

    /// The answer to a look-up. The protocols have room for one: an IPv4 address comes before an IPv6 one, as programs
    /// that use RESOLVE expect.
    ///
    /// - Parameters:
    ///   - proxyProtocol: what the application speaks.
    ///   - query: what was asked; answers of the other kind are passed over.
    ///   - resolved: what the exit said.
    static func resolved(_ proxyProtocol: ProxyProtocol, _ query: Resolve, _ resolved: Resolved) -> ByteBuffer {
        var name, v4, v6: Resolved.Answer.Value?
        switch resolved {
        case .failed(let reason): return Self.failed(proxyProtocol, .ended(reason))
        case .answers(let answers):
            for answer in answers {
                switch answer.value {
                case .name: name = name ?? answer.value
                case .address(.v4): v4 = v4 ?? answer.value
                case .address(.v6): v6 = v6 ?? answer.value
                }
            }
        }
        let answer: Resolved.Answer.Value?
        switch query {
        case .addresses: answer = v4 ?? v6
        case .name: answer = name
        }
        guard let answer else { return Self.failed(proxyProtocol, .ended(.noSuchName)) }
        switch (proxyProtocol, answer) {
        case (.socks5, _): return SOCKS5Reply.resolved(answer)
        case (.socks4, .address(let address)): return SOCKS4Reply.resolved(address)
        case (.socks4, .name), (.http, _), (.forward, _): return Self.failed(proxyProtocol, .ended(.unspecified))
        }
    }
}
