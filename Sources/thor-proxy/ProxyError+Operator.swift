package import ProxyFrontend
package import ThorDaemon

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

extension ProxyError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self {
        case .notLoopback(let address):
            OperatorError(
                "\(address) can be reached from other machines, and whoever reaches the port can use the proxy",
                advice:
                    "Listen on 127.0.0.1 or [::1], or give --allow-non-loopback together with --password-file FILE",
                status: .usage)
        case .passwordNeeded(let address):
            OperatorError(
                "\(address) can be reached from other machines, so the proxy needs a password",
                advice: "Write one into a file that only you can read, and give --password-file FILE", status: .usage)
        case .notAnAddress(let text):
            OperatorError(
                "--listen wants an address, and \(text) is none",
                advice: "Give one such as 127.0.0.1:1080 or [::1]:1080",
                status: .usage)
        case .cannotListen(let address, let reason, let errno):
            if address.hasPrefix(ProxyListenAddress.unixPrefix) {
                OperatorError(
                    "cannot listen on \(address): \(reason)", advice: Self.adviceAboutPath(errno), status: .osError)
            } else {
                .cannotListen(on: address, why: reason, errno: errno)
            }
        case .notRunning(let stateDirectory):
            OperatorError(
                "no proxy runs with the state directory \(stateDirectory)",
                advice: "Start thor-proxy, or name the directory of the one that runs with --state DIR",
                status: .unavailable)
        case .statusRefused(let path, let reason):
            OperatorError(
                "cannot open \(path): \(reason)", advice: "Ask as the user who runs the proxy", status: .permission)
        case .statusUnreadable(let path, let reason):
            OperatorError(
                "the proxy at \(path) gave no status: \(reason)",
                advice: "Try again; if it stays so, start the proxy again", status: .unavailable)
        case .statusPathTooLong(let path, let limit):
            OperatorError(
                "\(path) is longer than the \(limit) bytes that a socket's path may have",
                advice: "Choose a shorter path, with --state DIR or --listen unix:PATH", status: .configuration)
        }
    }

    /// What to do where there can be no Unix socket.
    private static func adviceAboutPath(_ errno: Int32?) -> String {
        switch errno {
        case EADDRINUSE:
            "Stop the program that listens there, move the file away if it is no socket, or choose another path with "
                + "--listen unix:PATH"
        case ENOENT, ENOTDIR: "Make the directory first, or choose another path with --listen unix:PATH"
        default: "Choose a path in a directory where you may make files, with --listen unix:PATH"
        }
    }
}
