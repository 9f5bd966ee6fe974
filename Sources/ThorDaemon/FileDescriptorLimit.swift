#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// How many files and sockets the process may have open.
package enum FileDescriptorLimit {
    /// Raise the soft limit to the hard one; leave it as it is if the system refuses.
    package static func raise() {
        var limit = rlimit()
        #if canImport(Glibc)
            let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
            let resource = RLIMIT_NOFILE
        #endif
        guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(resource, &limit)
    }
}
