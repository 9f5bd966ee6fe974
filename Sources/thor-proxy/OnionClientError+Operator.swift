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
        case .clockOff: .configuration
        }
    }
}
