package import OnionAddress
package import OnionCrypto
package import OnionDirectory

/// All that an OR is told; where a default is not here, the command line or the consensus has it.
package struct RouterConfiguration: Sendable {
    /// The directory server: host name or address literal, and port.
    package var directoryHost: String
    package var directoryPort: UInt16
    package var directoryKey: Ed25519PublicKey
    /// Signs the descriptor; its public half is the OR's fingerprint.
    package var identityKey: Ed25519PrivateKey
    /// Where to listen for links; port 0 takes a free one.
    package var listen: Endpoint
    /// Where others are told that the OR is; nil takes the listening address, or a public one of this machine.
    package var advertise: Advertised?
    package var nickname: String
    /// Two letters, or "".
    package var country: String
    package var contact: String
    /// Other routers of the same operator. Counts only where they name this one too.
    package var family: [Ed25519PublicKey]
    /// Bytes a second that the descriptor claims; 0 claims nothing.
    package var bandwidthRate: UInt64
    package var exitPolicy: ExitPolicy
    /// The address that connections to destinations leave from; nil leaves it to the system.
    package var exitSource: IPAddress?
    /// Name servers; none takes those of the system.
    package var resolvers: [Endpoint]
    /// An existing directory that only the daemon's user can enter.
    package var stateDirectory: String
    package var software: String
    /// Event loops that share the links; nil takes one for each core.
    package var eventLoopCount: Int?
    /// Files and sockets that the process may have open: links and exit streams share what this OR does not need itself.
    package var descriptorCount = Int.max

    /// An address that leads to the OR, and a port if it is not the one that the OR listens on.
    package struct Advertised: Equatable, Sendable {
        package var address: IPAddress
        package var port: UInt16?

        package init(address: IPAddress, port: UInt16? = nil) {
            self.address = address
            self.port = port
        }
    }

    /// Threads for circuit handshakes.
    package static let handshakeThreadCount = 2

    package init(
        directoryHost: String, directoryPort: UInt16, directoryKey: Ed25519PublicKey, identityKey: Ed25519PrivateKey,
        listen: Endpoint, advertise: Advertised? = nil, nickname: String, country: String = "", contact: String = "",
        family: [Ed25519PublicKey] = [], bandwidthRate: UInt64 = 0, exitPolicy: ExitPolicy = .standard,
        exitSource: IPAddress? = nil, resolvers: [Endpoint] = [], stateDirectory: String, software: String = ""
    ) {
        self.directoryHost = directoryHost
        self.directoryPort = directoryPort
        self.directoryKey = directoryKey
        self.identityKey = identityKey
        self.listen = listen
        self.advertise = advertise
        self.nickname = nickname
        self.country = country
        self.contact = contact
        self.family = family
        self.bandwidthRate = bandwidthRate
        self.exitPolicy = exitPolicy
        self.exitSource = exitSource
        self.resolvers = resolvers
        self.stateDirectory = stateDirectory
        self.software = software
    }
}
