package import DirectoryClient
import OnionAddress
import OnionDirectory
package import OnionRouter
package import ThorDaemon

import func Glibc.strerror

extension RouterError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self {
        case .cannotListen(let endpoint, let errno):
            .cannotListen(on: "\(endpoint)", why: String(cString: strerror(errno)), errno: errno)
        case .noListeningAddress:
            OperatorError("\(self)", advice: "", status: .osError)
        case .noPublicAddress:
            OperatorError(
                "\(self)", advice: "Give the address at which it is reached from outside with --advertise ADDRESS",
                status: .configuration)
        }
    }
}

extension DirectoryConnectionError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self.recovery {
        case .fixConfiguration(let advice):
            OperatorError("\(self)", advice: self.refusalAdvice ?? advice, status: self.statusForGood)
        case .tryAgain:
            OperatorError(
                "\(self)",
                advice: self.refusalAdvice
                    ?? "Check the address, and that the directory server runs and can be reached from here",
                status: .unavailable)
        }
    }

    /// What to do about a refusal; nil where it is none. Its own text is in the description already.
    private var refusalAdvice: String? {
        guard case .refused(let code, _) = self else { return nil }
        return switch code {
        case .addressNotPublic:
            "Give the public one with --advertise. For a test on private addresses use thor-testnet"
        case .staleSequence, .superseded: "Stop the other router with this key, or set this machine's clock"
        case .clockSkew: "Set this machine's clock (timedatectl shows it)"
        case .malformed, .unexpectedMessage: "Run the same version here and at the directory server"
        case .unspecified, .notAllowed, .wrongLinkKey, .unreachable, .handshakeFailed, .busy, .notReady, .shuttingDown:
            ""
        }
    }

    /// The code of an error that trying again does not cure by itself.
    private var statusForGood: ExitStatus {
        switch self {
        // The service manager is to start the router again: soon after a start a machine may not have the time yet.
        case .clockOff, .refused(.clockSkew, _): .temporary
        // Two routers with one key that are started again by themselves put each other out for ever.
        case .refused(.superseded, _): .configuration
        case .unreachable, .notADirectory, .wrongDirectoryKey, .protocolViolation, .unexpectedAnswer, .refused,
            .timedOut, .closed, .alreadyAsked:
            .wrongProtocol
        }
    }
}
