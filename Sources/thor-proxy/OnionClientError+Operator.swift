package import OnionClient
package import ThorDaemon

extension OnionClientError: OperatorFacing {
    package var operatorError: OperatorError {
        OperatorError(self.problem, advice: self.advice, status: self.kind.exitStatus)
    }
}

extension OnionClientError.Kind {
    fileprivate var exitStatus: ExitStatus {
        switch self {
        case .directoryUnreachable: .unavailable
        case .wrongDirectory: .wrongProtocol
        // Soon after a start a machine may not have the time yet: the service manager is to try again.
        case .clockOff: .temporary
        }
    }
}
