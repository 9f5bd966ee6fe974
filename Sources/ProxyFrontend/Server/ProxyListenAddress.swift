internal import Foundation
package import OnionAddress

/// A place that the proxy listens at, checked.
package struct ProxyListenAddress: Hashable, Sendable, CustomStringConvertible {
    package enum Place: Hashable, Sendable {
        case ip(Endpoint)
        /// A Unix socket, made with mode 0600: only its owner, or whom he lets, can connect. The path is absolute.
        case unix(path: String)
    }
    package let place: Place

    /// What a path begins with on the command line.
    package static let unixPrefix = "unix:"

    init(_ place: Place) { self.place = place }

    /// Check what the operator asked for.
    ///
    /// - Parameters:
    ///   - host: an address literal without brackets, or `localhost`. Other names are not looked up.
    ///   - port: 0 lets the system choose.
    ///   - allowsNonLoopback: whether the operator accepts that others can reach the port.
    ///   - access: who may use the proxy; others that can reach it need a password.
    /// - Throws: `notAnAddress`, `notLoopback`, `passwordNeeded`.
    package init(
        host: String, port: UInt16, allowsNonLoopback: Bool, access: ProxyAccess
    ) throws(ProxyError) {
        guard let address = IPAddress(host == "localhost" ? "127.0.0.1" : host) else { throw .notAnAddress(host) }
        let endpoint = Endpoint(address: address, port: port)
        if !SpecialPurpose.isLoopback(address) {
            guard allowsNonLoopback else { throw .notLoopback(address: "\(endpoint)") }
            switch access {
            case .password: break
            case .open: throw .passwordNeeded(address: "\(endpoint)")
            }
        }
        self.place = .ip(endpoint)
    }

    /// Check the path of a Unix socket, and make it absolute: `thor-proxy run` is told of it, and may run in another
    /// directory, where somebody else's socket may have that name.
    ///
    /// - Throws: `statusPathTooLong`, `notAnAddress` for an empty path, or a relative one where there is no directory.
    package init(unixPath: String) throws(ProxyError) {
        var path = unixPath
        if !path.hasPrefix("/") {
            let directory = FileManager.default.currentDirectoryPath
            guard !path.isEmpty, directory.hasPrefix("/") else { throw .notAnAddress(Self.unixPrefix + path) }
            path = directory == "/" ? "/\(path)" : "\(directory)/\(path)"
        }
        guard path.utf8.count <= StatusSocket.maximumPathByteCount else {
            throw .statusPathTooLong(path: path, limit: StatusSocket.maximumPathByteCount)
        }
        self.place = .unix(path: path)
    }

    /// The port, if it has one.
    package var port: UInt16? {
        switch self.place {
        case .ip(let endpoint): endpoint.port
        case .unix: nil
        }
    }

    package var description: String {
        switch self.place {
        case .ip(let endpoint): "\(endpoint)"
        case .unix(let path): "\(Self.unixPrefix)\(path)"
        }
    }
}
