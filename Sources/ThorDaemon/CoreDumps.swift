#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Keeps the memory of a daemon, and the keys in it, out of files and logs when it crashes.
///
/// The limit forbids core files. Where the system pipes cores to a program the limit does not count, so that on Linux the
/// process also says that none of its memory belongs in one. It stays visible to monitors of the same user, which
/// `PR_SET_DUMPABLE` would end. The backtrace that Swift's runtime can print shows registers and the memory that they point
/// to, and is switched off too.
package enum CoreDumps {
    /// The signals of a crash, which the runtime may have taken for its backtrace (`SWIFT_BACKTRACE`).
    private static let crashSignals = [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGSEGV, SIGTRAP]

    /// Turn core dumps off for good; without effect where the system refuses.
    package static func disable() {
        for number in Self.crashSignals { signal(number, SIG_DFL) }
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        #if canImport(Glibc)
            _ = setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
            let filter = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC)
            writeWhole("0\n", to: filter)
            close(filter)
        #else
            _ = setrlimit(RLIMIT_CORE, &none)
        #endif
    }
}
