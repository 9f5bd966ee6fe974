/// Who may use the proxy.
package enum ProxyAccess: Sendable {
    /// Anybody who can reach the port; names and passwords only tell applications apart.
    case open
    /// Whoever knows this password, under any user name.
    case password([UInt8])

    /// Whether an application has to know a password.
    var wantsPassword: Bool {
        switch self {
        case .open: false
        case .password: true
        }
    }

    /// Tell whether an application with these credentials may go on.
    ///
    /// The comparison takes the same time whichever byte differs; it shows the length only.
    func admits(_ credentials: ProxyCredentials) -> Bool {
        switch self {
        case .open: return true
        case .password(let expected):
            guard let given = credentials.password else { return false }
            return PasswordComparison.areEqual(given, expected)
        }
    }
}
