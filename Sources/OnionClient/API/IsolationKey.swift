/// Who asked for a stream, as far as sharing a circuit goes: streams with different keys never share one.
///
/// Names and passwords are the bytes that the application sent, not text made from them, so that two byte strings that
/// happen to repair to one text stay apart. The source port is left out on purpose: it changes with every connection.
///
/// - Source: DESIGN §10, *Isolation*
public struct IsolationKey: Hashable, Sendable {
    /// The listening address the application came in by, as `127.0.0.1:1080`; empty inside one program.
    public var listener: String
    /// The application's IP address, without its port.
    public var clientAddress: String
    /// Which protocol the application spoke: `socks5`, `socks4`, `http`, or a name of the caller's choice.
    public var protocolName: String
    /// SOCKS5 user name, SOCKS4 user id or the user of Proxy-Authorization; nil when none was sent.
    public var username: [UInt8]?
    /// SOCKS5 password or that of Proxy-Authorization; nil when none was sent.
    public var password: [UInt8]?
    /// `host:port` of the stream, where even one application's streams to different destinations are to be apart; else nil.
    public var destination: String?

    public init(
        listener: String = "", clientAddress: String = "", protocolName: String, username: [UInt8]? = nil,
        password: [UInt8]? = nil, destination: String? = nil
    ) {
        self.listener = listener
        self.clientAddress = clientAddress
        self.protocolName = protocolName
        self.username = username
        self.password = password
        self.destination = destination
    }

    /// What keys that differ only in their destination have in common; nil where destinations are not kept apart.
    var program: IsolationKey? {
        guard self.destination != nil else { return nil }
        var program = self
        program.destination = nil
        return program
    }
}
