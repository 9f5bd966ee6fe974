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
            OperatorError(
                "\(self)", advice: self.refusalAdvice ?? advice,
                status: self.isClockOff || self.isSuperseded ? .configuration : .wrongProtocol)
        case .tryAgain:
            OperatorError(
                "\(self)", advice: "Check the address, and that the directory server runs and can be reached from here",
                status: .unavailable)
        }
    }

    /// What to do about a refusal for good; nil where it is none. Its own text is in the description already.
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

    private var isClockOff: Bool {
        if case .clockOff = self { true } else { false }
    }

    /// Two routers with one key that are started again by themselves put each other out for ever.
    private var isSuperseded: Bool {
        if case .refused(.superseded, _) = self { true } else { false }
    }
}
