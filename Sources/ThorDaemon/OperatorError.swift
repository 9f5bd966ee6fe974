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

    package var description: String { self.advice.isEmpty ? self.problem : "\(self.problem). \(self.advice)." }
}

/// An error that knows how to tell the operator about itself.
package protocol OperatorFacing: Error {
    var operatorError: OperatorError { get }
}

extension OperatorError: OperatorFacing {
    package var operatorError: OperatorError { self }
}
