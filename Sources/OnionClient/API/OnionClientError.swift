/// Why a client could not begin, as its operator is to read it. Later troubles do not end a client.
public struct OnionClientError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Kind: Equatable, Sendable {
        /// The directory server cannot be reached, and there is no list of routers on disk.
        case directoryUnreachable
        /// Something answers, but it is not the directory server whose key was given.
        case wrongDirectory
        /// The directory's clock and this machine's do not agree.
        case clockOff
    }

    public var kind: Kind
    /// What is wrong, and where.
    public var problem: String
    /// What to do.
    public var advice: String

    public init(_ kind: Kind, problem: String, advice: String) {
        self.kind = kind
        self.problem = problem
        self.advice = advice
    }

    public var description: String { "\(self.problem); \(self.advice)" }
}
