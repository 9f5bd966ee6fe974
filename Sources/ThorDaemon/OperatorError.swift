#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// An error for the person who runs the program: what is wrong, where, and what to do about it.
///
/// Errors of libraries become one by conforming to ``OperatorFacing`` in this module or in the executable.
package struct OperatorError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong and where (file, key, option), in a sentence without a full stop.
    package var problem: String
    /// What to do, in a sentence without a full stop.
    package var advice: String
    package var status: ExitStatus

    package init(_ problem: String, advice: String, status: ExitStatus) {
        self.problem = problem
        self.advice = advice
        self.status = status
    }

    /// - Parameter errno: the system's code, if it gave one.
    package static func cannotListen(on address: String, why: String, errno: Int32?) -> OperatorError {
        OperatorError(
            "cannot listen on \(address): \(why)",
            advice: errno == EACCES
                ? "Not every user may have a port below 1024: choose one from 1024 with --listen"
                : "Stop what uses the port, or choose another address or port with --listen",
            status: .osError)
    }

    package var description: String { self.advice.isEmpty ? self.problem : "\(self.problem). \(self.advice)." }
}

/// An error that knows how to tell the operator about itself.
package protocol OperatorFacing: Error {
    var operatorError: OperatorError { get }
}

extension OperatorError: OperatorFacing {
    package var operatorError: OperatorError { self }
}
