package import DirectoryClient
import OnionAddress
package import OnionRouter
package import ThorDaemon

import func Glibc.strerror

extension RouterError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self {
        case .cannotListen(let endpoint, let errno):
            OperatorError(
                "cannot listen on \(endpoint): \(String(cString: strerror(errno)))",
                advice: "Stop what uses the port, or choose another address or port with --listen", status: .osError)
        case .noListeningAddress:
            OperatorError("the system does not say where the router listens", advice: "", status: .osError)
        case .noPublicAddress:
            OperatorError(
                "this machine has no public address of its own, so others cannot be told where the router is",
                advice: "Give the address at which it is reached from outside with --advertise ADDRESS",
                status: .configuration)
        }
    }
}

extension DirectoryConnectionError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self.recovery {
        case .fixConfiguration(let advice):
            OperatorError("\(self)", advice: advice, status: self.isClockOff ? .configuration : .wrongProtocol)
        case .tryAgain:
            OperatorError(
                "\(self)", advice: "Check the address, and that the directory server runs and can be reached from here",
                status: .unavailable)
        }
    }

    private var isClockOff: Bool {
        if case .clockOff = self { true } else { false }
    }
}
