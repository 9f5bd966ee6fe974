public import OnionCrypto

extension OnionClient {
    /// What a client is told at its start; pure data.
    public struct Configuration: Sendable {
        /// Name or address of the directory server, without brackets.
        public var directoryHost: String
        public var directoryPort: UInt16
        /// The key that signs the consensus and proves the directory server's link key.
        public var directoryKey: Ed25519PublicKey
        /// Where consensus and guards are kept; exists already, mode 0700, locked by the caller.
        public var stateDirectory: String
        /// What the exits of all streams must be like, whatever else a stream wishes.
        public var exit: ExitWish
        public var limits: Limits
        /// Whether the destinations of open streams are kept, in memory, and told by ``OnionClient/status()``: whoever can ask
        /// for the status then learns where the user goes.
        public var revealsDestinations = false

        public init(
            directoryHost: String, directoryPort: UInt16, directoryKey: Ed25519PublicKey, stateDirectory: String,
            exit: ExitWish = .any, limits: Limits = Limits()
        ) {
            self.directoryHost = directoryHost
            self.directoryPort = directoryPort
            self.directoryKey = directoryKey
            self.stateDirectory = stateDirectory
            self.exit = exit
            self.limits = limits
        }
    }
}
