internal import ArgumentParser
internal import OnionAddress

/// Where something listens, as people write it: `host`, `host:port`, `192.0.2.1:9030`, `[2001:db8::1]:9030`, `::1`.
package struct HostPort: Hashable, Sendable, CustomStringConvertible, ExpressibleByArgument {
    /// A name or an address literal, without brackets.
    package var host: String
    package var port: UInt16?

    package init(host: String, port: UInt16?) {
        self.host = host
        self.port = port
    }

    package init?(argument: String) {
        let text = Substring(argument)
        let host: Substring
        let portText: Substring?
        if text.first == "[" {
            guard let close = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<close]
            guard host.contains(":") else { return nil }
            let rest = text[text.index(after: close)...]
            if rest.isEmpty {
                portText = nil
            } else {
                guard rest.first == ":" else { return nil }
                portText = rest.dropFirst()
            }
        } else {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            // More than one colon is an IPv6 literal without a port.
            host = parts.count == 2 ? parts[0] : text
            portText = parts.count == 2 ? parts[1] : nil
        }
        guard !host.isEmpty, !host.contains(where: { $0.isWhitespace || $0 == "[" || $0 == "]" || $0 == "/" }) else {
            return nil
        }
        // An IPv6 literal is in ASCII; another mark would join with the bracket before it when it is printed.
        guard !host.contains(":") || host.unicodeScalars.allSatisfy(\.isASCII) else { return nil }
        self.host = String(host)
        guard let portText else {
            self.port = nil
            return
        }
        guard portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(portText)
        else { return nil }
        self.port = port
    }

    /// Whether it is an address, or `localhost`: nothing that has to be looked up.
    package var isAddress: Bool { self.host == "localhost" || IPAddress(self.host) != nil }

    /// Whether only programs on this machine can reach it.
    package var isLoopback: Bool {
        self.host == "localhost" || IPAddress(self.host).map(SpecialPurpose.isLoopback) ?? false
    }

    package var description: String {
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        return self.port.map { "\(host):\($0)" } ?? host
    }
}
