/// What an OR knows of its place in the network, in words for its operator.
package enum RouterStanding: Equatable, Sendable, CustomStringConvertible {
    case listed
    /// The newest consensus does not name it.
    case notListed
    /// The directory cannot be reached, or refuses it; tried again. Whether the consensus still names it is not known.
    case disconnected(why: String)

    package var description: String {
        switch self {
        case .listed: "in the consensus"
        case .notListed: "not in the consensus any more; the directory's log says why"
        case .disconnected(let why): "not registered, and trying again: \(why)"
        }
    }
}
