#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// How many files and sockets the process may have open.
package enum FileDescriptorLimit {
    /// Raise the soft limit to the hard one; leave it as it is if the system refuses.
    ///
    /// - Returns: how many there may be now.
    @discardableResult
    package static func raise() -> Int {
        var limit = rlimit()
        #if canImport(Glibc)
            let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
            let resource = RLIMIT_NOFILE
        #endif
        guard getrlimit(resource, &limit) == 0 else { return .max }
        let before = limit.rlim_cur
        limit.rlim_cur = limit.rlim_max
        return Int(clamping: setrlimit(resource, &limit) == 0 ? limit.rlim_max : before)
    }

    /// What every daemon needs for itself: event loops, name servers, files, connections that it opens.
    package static let ownCount = 128

    /// How many connections a daemon may take that would take `wanted`, and none else.
    ///
    /// - Parameter total: how many files and sockets there may be.
    package static func connections(upTo wanted: Int, of total: Int = raise()) -> Int {
        min(wanted, max(1, total - Self.ownCount))
    }
}
