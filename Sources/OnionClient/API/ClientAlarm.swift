/// What whoever runs a client should hear of at once. The client goes on.
///
/// A library logs nothing above `info`: the program that embeds it decides how loud each of these is.
public enum ClientAlarm: Equatable, Sendable, CustomStringConvertible {
    /// The directory server has signed two lists of one revision. Both are kept in these files as evidence; the first stays
    /// in use.
    case directoryContradictsItself(evidence: [String])
    /// The list of routers could not be kept on disk: the next start has to ask the directory directly.
    case consensusNotSaved(reason: String)
    /// The guards could not be kept on disk: the next start draws others.
    case guardsNotSaved(reason: String)
    /// The guards on disk cannot be used; others are drawn.
    case guardsNotReadable(reason: String)

    /// Whether somebody may be attacking this client.
    public var isAttack: Bool {
        switch self {
        case .directoryContradictsItself: true
        case .consensusNotSaved, .guardsNotSaved, .guardsNotReadable: false
        }
    }

    public var description: String {
        switch self {
        case .directoryContradictsItself(let evidence):
            "the directory contradicts itself; show the evidence to its operator: "
                + (evidence.isEmpty ? "none could be kept" : evidence.joined(separator: " "))
        case .consensusNotSaved(let reason): "the list of routers was not saved: \(reason)"
        case .guardsNotSaved(let reason): "the guards were not saved: \(reason)"
        case .guardsNotReadable(let reason): "the stored guards cannot be used, and others are drawn: \(reason)"
        }
    }
}
