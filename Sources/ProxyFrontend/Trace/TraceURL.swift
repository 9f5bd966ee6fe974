internal import Foundation
internal import OnionAddress
internal import OnionCells

/// A URL that can be traced, taken apart.
package struct TraceURL: Equatable, Sendable {
    /// Why a text is no such URL.
    package enum Malformed: Error, Equatable, Sendable {
        /// It is no URL with a host, or its host is not in ASCII.
        case notURL
        /// Something other than `http` or `https`.
        case scheme(String)
        /// It holds a user name or password, which would be shown and sent.
        case credentials
        case port
    }

    package let text: String
    package let isTLS: Bool
    /// A name or an address, without brackets.
    package let host: String
    package let port: UInt16
    /// Path and query, as they go into the request.
    package let target: String

    package init(_ text: String) throws(Malformed) {
        guard let url = URLComponents(string: text), let scheme = url.scheme?.lowercased() else { throw .notURL }
        guard scheme == "http" || scheme == "https" else { throw .scheme(scheme) }
        // A password alone has an empty user before it.
        guard url.user == nil else { throw .credentials }
        var host = url.percentEncodedHost ?? ""
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        // What is not in ASCII has been encoded.
        guard Begin.isValidHost(host), !host.contains("%") else { throw .notURL }
        self.text = text
        self.isTLS = scheme == "https"
        self.host = host
        switch url.port {
        case nil: self.port = self.isTLS ? 443 : 80
        case .some(let port):
            guard let port = UInt16(exactly: port), port != 0 else { throw .port }
            self.port = port
        }
        let path = url.percentEncodedPath.isEmpty ? "/" : url.percentEncodedPath
        self.target = url.percentEncodedQuery.map { "\(path)?\($0)" } ?? path
    }

    /// The host if it is an address, for which certificates are checked otherwise than for a name.
    var address: IPAddress? { IPAddress(self.host) }

    /// The request that is sent.
    var request: String {
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        let isDefault = self.port == (self.isTLS ? 443 : 80)
        return "GET \(self.target) HTTP/1.1\r\nHost: \(host)\(isDefault ? "" : ":\(self.port)")\r\n"
            + "User-Agent: thor-proxy\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    }
}
