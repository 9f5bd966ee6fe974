/// How large the parts of directory documents may be. Everything that a peer can grow has its limit here.
public enum DirectoryLimits {
    /// A signed descriptor: under 1 kB.
    public static let descriptorByteCount = 1023
    /// A router's name: letters, digits, `-`, `_` and `.`, at least one.
    public static let nicknameByteCount = 32
    public static let softwareByteCount = 64
    public static let contactByteCount = 128
    public static let addressCount = 4
    public static let familyCount = 8
    public static let protocolVersionCount = 8
    public static let exitRuleCount = 32
    /// Routers in a consensus.
    public static let routerCount = 1024
    /// A signed consensus: every router with the largest descriptor, and room for the parameters.
    public static let consensusByteCount = 1_200_000
    /// A router's weight; with the number of routers it keeps every sum under 2^50.
    public static let weight: UInt64 = 1 << 40
    /// Network parameters in a consensus, unknown ones included.
    public static let parameterCount = 256
    public static let parameterNameByteCount = 48
    /// The text of an Error frame.
    public static let errorTextByteCount = 512
    /// For how long a consensus may be valid, and is remembered after it has expired: the most that `consensus-valid-s` can say.
    public static let validSeconds: UInt64 = 1_000_000
    /// How far a consensus may begin in the future.
    public static let clockSkewSeconds: UInt64 = 300
}
