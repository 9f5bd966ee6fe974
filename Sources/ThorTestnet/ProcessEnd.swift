import Glibc
import ThorDaemon

/// How a daemon ended.
package enum ProcessEnd: Equatable, Sendable, CustomStringConvertible {
    case code(Int32)
    case signal(Int32)
    /// It was never started: what `posix_spawn` said.
    case notStarted(errno: Int32)

    /// Take apart what `waitpid` returned.
    package init(waitStatus: Int32) {
        let signal = waitStatus & 0x7f
        self = signal == 0 ? .code((waitStatus >> 8) & 0xff) : .signal(signal)
    }

    /// The code with which thor-testnet ends when this daemon's end is the reason.
    package var exitCode: Int32 {
        switch self {
        case .code(0), .signal: ExitStatus.software.rawValue
        case .code(let code): code
        case .notStarted: ExitStatus.osError.rawValue
        }
    }

    package var description: String {
        switch self {
        case .code(let code): "ended with exit code \(code)"
        case .signal(let signal): "was ended by signal \(signal) (\(String(cString: strsignal(signal))))"
        case .notStarted(let errno): "could not be started: \(String(cString: strerror(errno)))"
        }
    }
}
