internal import OnionCells
internal import OnionClient

/// What an application asked the proxy for, whichever protocol it spoke.
struct ProxyRequest: Equatable, Sendable {
    enum Target: Equatable, Sendable {
        case connect(host: String, port: UInt16)
        case lookUp(Resolve)

        /// What isolation by destination goes by. Look-ups are apart from streams.
        var destination: String {
            switch self {
            case .connect(let host, let port): "\(host.lowercased()):\(port)"
            case .lookUp(.addresses(let name)): name.lowercased()
            case .lookUp(.name(let address)): "\(address)"
            }
        }
    }
    var proxyProtocol: ProxyProtocol
    var target: Target
    var credentials: ProxyCredentials
    /// Wishes for the exit from fields of a CONNECT, as user names have them: `country-se`.
    var fieldWishes: [[UInt8]] = []
    /// The head of an HTTP request that is to be forwarded, as it came but for Upgrade; empty for a tunnel.
    var forwardedHead: [UInt8] = []

    /// What the exit is to be like, by user name and fields together.
    ///
    /// - Throws: when one of them begins like a wish and cannot be read.
    func exitWish() throws(ExitWish.Malformed) -> ExitWish {
        var wish = ExitWish.any
        for text in [self.credentials.username ?? []] + self.fieldWishes {
            wish = wish.narrowed(by: try ExitWish(userName: text))
        }
        return wish
    }
}

/// The protocols of the one port; the raw value names them in isolation keys.
enum ProxyProtocol: String, Sendable, CaseIterable {
    case socks5, socks4, http
    /// An HTTP request to be forwarded, in place of a tunnel.
    case forward = "http-forward"
}

/// The name and password that an application sent, as the bytes they were. They tell applications apart, no more, unless
/// ``ProxyAccess/password(_:)`` asks for a certain one.
struct ProxyCredentials: Equatable, Sendable {
    var username: [UInt8]?
    var password: [UInt8]?

    static let none = ProxyCredentials(username: nil, password: nil)
}
