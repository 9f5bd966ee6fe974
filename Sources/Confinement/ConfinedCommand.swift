internal import CConfinement
internal import Foundation
internal import Glibc

/// One command that runs beside this program, in its terminal, and gets its signals.
///
/// Isolated, it is in a network namespace that has nothing but loopback, and there one port, which ``listener`` serves from
/// outside: a socket belongs for ever to the namespace that it was made in, whoever holds it.
package struct ConfinedCommand: Sendable {
    /// Why there is no command.
    package enum Failure: Error, Equatable, Sendable {
        /// The system allows no namespace; the text says what it refused.
        case cannotIsolate(String)
        /// The command cannot be executed.
        case notExecuted(errno: Int32)
        /// Something else that the system refused.
        case system(errno: Int32)
    }

    /// Isolated: listens on 127.0.0.1 inside; the caller's to close. Else nil.
    package let listener: Int32?
    private let process: pid_t

    /// Start a command.
    ///
    /// - Parameters:
    ///   - arguments: the command itself first.
    ///   - isolatedPort: the port that `listener` is to have; nil: no isolation.
    ///   - keeping: descriptors above 2 that the command is to have: those that this program was given. Others are closed.
    package init(
        _ arguments: [String], environment: [String: String], isolatedPort: UInt16?, keeping: Set<Int32>
    ) throws(Failure) {
        for descriptor in Self.openDescriptors() where descriptor > STDERR_FILENO && !keeping.contains(descriptor) {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        }
        let start = Self.withCStrings(arguments) { arguments in
            Self.withCStrings(environment.map { "\($0.key)=\($0.value)" }) { environment in
                var command = confined_command(
                    command: arguments[0], arguments: arguments, environment: environment,
                    isolated: isolatedPort == nil ? 0 : 1, port: isolatedPort ?? 0)
                return confined_start_command(&command)
            }
        }
        switch start.outcome {
        case CONFINED_STARTED: break
        case CONFINED_NOT_EXECUTED: throw .notExecuted(errno: start.error)
        case CONFINED_NO_RESOURCES: throw .system(errno: start.error)
        default:
            throw .cannotIsolate("\(Self.step(start.outcome)): \(String(cString: strerror(start.error)))")
        }
        self.process = start.process
        self.listener = start.listener >= 0 ? start.listener : nil
    }

    /// Wait for its end.
    ///
    /// - Returns: its exit status, or 128 and the number of the signal that ended it, as a shell says it.
    package func wait() async -> Int32 {
        await withCheckedContinuation { continuation in
            // A thread of its own: it does nothing else.
            Thread.detachNewThread { continuation.resume(returning: self.waitHere()) }
        }
    }

    /// The same, on this thread.
    func waitHere() -> Int32 {
        let status = confined_wait(self.process)
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }

    /// The descriptors that this process has open.
    package static func openDescriptors() -> Set<Int32> {
        let listed = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        // One of them was the listing's own; its number will be something else's.
        return Set(listed.compactMap { Int32($0) }.filter { fcntl($0, F_GETFD) != -1 })
    }

    private static func step(_ outcome: confined_outcome) -> String {
        switch outcome {
        case CONFINED_NO_NAMESPACE: "no user and network namespace may be made"
        case CONFINED_NO_IDENTITY: "no user may be carried over into a user namespace"
        case CONFINED_NO_LOOPBACK: "loopback cannot be brought up in a namespace"
        case CONFINED_NO_LISTENER: "the port cannot be listened on in a namespace"
        case CONFINED_NOT_HIDDEN: "the name services of this machine cannot be hidden"
        default: "a namespace cannot be made"
        }
    }

    /// Lend an array of C strings that ends with NULL.
    private static func withCStrings<Result>(
        _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        let pointers = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
        for (index, string) in strings.enumerated() { (pointers + index).initialize(to: strdup(string)) }
        (pointers + strings.count).initialize(to: nil)
        defer {
            for index in strings.indices { free(pointers[index]) }
            pointers.deinitialize(count: strings.count + 1)
            pointers.deallocate()
        }
        return body(pointers)
    }
}
