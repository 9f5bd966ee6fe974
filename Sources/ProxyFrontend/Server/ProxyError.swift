/// Why the proxy or its status socket could not start or be asked.
package enum ProxyError: Error, Equatable, Sendable {
    /// A listening address is not loopback, and the operator did not say that it may be.
    case notLoopback(address: String)
    /// A listening address is not loopback, and there is no password to keep strangers out.
    case passwordNeeded(address: String)
    /// What should be an address to listen on is a name.
    case notAnAddress(String)
    /// The system refused the port or the socket's path. `reason` is its text, such as `Address already in use`;
    /// `errno` is its code, if it gave one.
    case cannotListen(address: String, reason: String, errno: Int32?)
    /// Nobody listens on the status socket.
    case notRunning(stateDirectory: String)
    /// Somebody listens on the status socket, but it may not be asked.
    case statusRefused(path: String, reason: String)
    /// The proxy did not answer, or not with a status.
    case statusUnreadable(path: String, reason: String)
    /// The path of the status socket is longer than the system allows, in bytes.
    case statusPathTooLong(path: String, limit: Int)
}
