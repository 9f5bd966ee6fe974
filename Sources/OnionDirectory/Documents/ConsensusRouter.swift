public import OnionAddress
public import OnionCrypto

/// What the directory says that a router may be used for.
public struct RouterFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// May be a client's first hop.
    public static let `guard` = RouterFlags(rawValue: 1)
    /// Opens connections to the Internet for some port.
    public static let exit = RouterFlags(rawValue: 2)
    public static let fast = RouterFlags(rawValue: 4)
    public static let stable = RouterFlags(rawValue: 8)

    /// All flags that there are; a document with another bit set is refused.
    public static let known: RouterFlags = [.guard, .exit, .fast, .stable]
}

/// One running router in a consensus.
public struct ConsensusRouter: Hashable, Sendable {
    public let descriptor: SignedDescriptor
    public let flags: RouterFlags
    /// How often it is drawn, relative to the others: 1 … ``DirectoryLimits/weight``.
    public let weight: UInt64

    /// Make one; the weight is brought into its range, unknown flags fall away.
    public init(descriptor: SignedDescriptor, flags: RouterFlags, weight: UInt64) {
        self.descriptor = descriptor
        self.flags = flags.intersection(.known)
        self.weight = min(max(weight, 1), DirectoryLimits.weight)
    }

    public var identity: Ed25519PublicKey { self.descriptor.descriptor.identity }
    public var linkKey: Ed25519PublicKey { self.descriptor.descriptor.linkKey }
    public var onionKey: X25519PublicKey { self.descriptor.descriptor.onionKey }
    public var nickname: String { self.descriptor.descriptor.nickname }
    public var addresses: [Endpoint] { self.descriptor.descriptor.addresses }
    public var exitPolicy: ExitPolicy { self.descriptor.descriptor.exitPolicy }
    public var country: String { self.descriptor.descriptor.country }
}
