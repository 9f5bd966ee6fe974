/// The environment variables by which programs are told to use a proxy.
package struct ProxyVariables: Equatable, Sendable {
    /// Where the proxy can be reached from.
    package var port: UInt16
    /// What the program is to say, in order to choose an exit or a circuit of its own, and to be let in; nil: nothing.
    package var userName: String?
    package var password: String?

    package init(port: UInt16, userName: String? = nil, password: String? = nil) {
        self.port = port
        self.userName = userName
        self.password = password
    }

    /// Return `environment` with the variables set.
    ///
    /// - Parameter hasNetcat: whether there is Debian's `nc.openbsd`, by which ssh can go through a SOCKS proxy.
    package func applied(to environment: [String: String], hasNetcat: Bool) -> [String: String] {
        var result = environment
        let place = "\(self.credentials)127.0.0.1:\(self.port)"
        for name in ["ALL_PROXY", "all_proxy"] { result[name] = "socks5h://\(place)" }
        // CONNECT, so that names go to the proxy here too. One for FTP, so that it fails and does not go round.
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ftp_proxy", "FTP_PROXY"] {
            result[name] = "http://\(place)"
        }
        result["RSYNC_PROXY"] = place
        // Node's fetch minds the others only then.
        result["NODE_USE_ENV_PROXY"] = "1"
        for name in ["no_proxy", "NO_PROXY"] { result[name] = "" }
        // git over ssh minds none of them. nc cannot say a user name without asking for a password on the terminal.
        if hasNetcat, self.credentials.isEmpty, result["GIT_SSH_COMMAND"] == nil, result["GIT_SSH"] == nil {
            result["GIT_SSH_COMMAND"] = "ssh -o 'ProxyCommand=nc.openbsd -X 5 -x 127.0.0.1:\(self.port) %h %p'"
        }
        return result
    }

    /// `name:password@`, or nothing.
    private var credentials: String {
        guard self.userName != nil || self.password != nil else { return "" }
        return "\(Self.escaped(self.userName ?? "thor")):\(Self.escaped(self.password ?? "x"))@"
    }

    /// Percent-encode what has a meaning of its own in a URL.
    private static func escaped(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                bytes.append(byte)
            default: bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
