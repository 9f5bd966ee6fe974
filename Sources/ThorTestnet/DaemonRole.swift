/// Which daemon of a test network is meant. Routers are counted from 0.
package enum DaemonRole: Hashable, Sendable, Comparable, CustomStringConvertible {
    case directory
    case router(Int)
    case proxy

    /// The executable's file name.
    package var executable: String {
        switch self {
        case .directory: "thor-directory"
        case .router: "thor-router"
        case .proxy: "thor-proxy"
        }
    }

    /// A short name, fit for a file in the state directory.
    package var fileName: String {
        switch self {
        case .directory: "directory"
        case .router(let index): "router-\(index + 1)"
        case .proxy: "proxy"
        }
    }

    /// What people read in messages.
    package var description: String {
        switch self {
        case .directory: "directory server"
        case .router(let index): "router \(index + 1)"
        case .proxy: "proxy"
        }
    }
}
