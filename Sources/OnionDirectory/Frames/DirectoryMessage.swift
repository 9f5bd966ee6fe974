public import OnionCrypto

/// What is said on a directory connection, one message a frame.
///
/// Signed documents are held as the bytes that came, unverified: whoever receives one knows the key to check it with.
///
/// - Source: DESIGN §9
public enum DirectoryMessage: Equatable, Sendable {
    /// The directory's first frame: a signed ``DirectoryHello``.
    case hello([UInt8])
    /// An OR asks to be listed: its ``SignedDescriptor``.
    case register([UInt8])
    /// The OR with this descriptor sequence is listed from this revision on.
    case registered(sequence: UInt64, revision: UInt64)
    /// A sign of life.
    case heartbeat(counter: UInt64, load: RouterLoad)
    /// The answer to a heartbeat, with the newest revision.
    case heartbeatAck(counter: UInt64, revision: UInt64)
    /// Asks for a consensus newer than this revision (0: any). May wait for one.
    case getConsensus(haveRevision: UInt64)
    /// A signed ``Consensus``.
    case consensus([UInt8])
    /// Nothing newer than what the asker has; this is the newest revision.
    case notModified(revision: UInt64)
    /// Asks for a ticket for this commitment.
    case getTicket(commitment: Bytes32)
    /// A signed ``PathTicket``.
    case ticket([UInt8])
    /// The request was refused, or the connection will be closed.
    case error(DirectoryErrorCode, text: String)

    public var frameType: DirectoryFrameType {
        switch self {
        case .hello: .hello
        case .register: .register
        case .registered: .registered
        case .heartbeat: .heartbeat
        case .heartbeatAck: .heartbeatAck
        case .getConsensus: .getConsensus
        case .consensus: .consensus
        case .notModified: .notModified
        case .getTicket: .getTicket
        case .ticket: .ticket
        case .error: .error
        }
    }
}

/// What an OR says in a heartbeat about how busy it is.
public struct RouterLoad: Hashable, Sendable {
    public var circuitCount: UInt32
    public var streamCount: UInt32
    /// Relayed since the last heartbeat, rounded by the sender.
    public var bytesPerSecond: UInt64

    public init(circuitCount: UInt32 = 0, streamCount: UInt32 = 0, bytesPerSecond: UInt64 = 0) {
        self.circuitCount = circuitCount
        self.streamCount = streamCount
        self.bytesPerSecond = bytesPerSecond
    }
}

/// Why the directory refuses a request.
public enum DirectoryErrorCode: UInt16, CaseIterable, Hashable, Sendable {
    /// A code that this program does not know.
    case unspecified = 0
    /// A frame or document that cannot be read.
    case malformed = 1
    /// A message that does not belong here, such as a heartbeat before a registration.
    case unexpectedMessage = 2
    /// The identity is not in the directory's allow file.
    case notAllowed = 3
    /// The descriptor's link key is not the TLS peer's, or the peer showed none.
    case wrongLinkKey = 4
    /// The advertised address is not on the public Internet.
    case addressNotPublic = 5
    /// The directory could not connect back to the advertised address.
    case unreachable = 6
    /// The circuit handshake with the router failed.
    case handshakeFailed = 7
    /// A descriptor of this identity with a higher sequence is known.
    case staleSequence = 8
    /// The descriptor's time is too far from the directory's.
    case clockSkew = 9
    /// A newer registration of this identity has replaced this one.
    case superseded = 10
    /// Too many requests or connections.
    case busy = 11
    /// There is no consensus yet.
    case notReady = 12
    /// The directory is shutting down.
    case shuttingDown = 13

    /// Read a code from the wire; one that nobody knows says nothing.
    public init(wire: UInt16) { self = Self(rawValue: wire) ?? .unspecified }

    /// Whether asking again later may help without anybody's doing.
    public var isWorthRetrying: Bool {
        switch self {
        case .unspecified, .unreachable, .handshakeFailed, .busy, .notReady, .shuttingDown: true
        case .malformed, .unexpectedMessage, .notAllowed, .wrongLinkKey, .addressNotPublic, .staleSequence, .clockSkew,
            .superseded:
            false
        }
    }
}
