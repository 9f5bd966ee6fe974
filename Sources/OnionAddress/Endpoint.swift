/// An address and a TCP port: `192.0.2.1:9001`, `[2001:db8::1]:9001`.
public struct Endpoint: Hashable, Sendable {
    public var address: IPAddress
    public var port: UInt16

    public init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }
}

extension Endpoint: CustomStringConvertible, LosslessStringConvertible {
    /// Parse `ADDRESS:PORT`, an IPv6 address in brackets; both parts strict. Port 0 is taken: it means any, where one listens.
    public init?(_ text: some StringProtocol) {
        let characters = Array(text.utf8)
        guard let colon = characters.lastIndex(of: UInt8(ascii: ":")),
            let port = parseDecimal(characters[(colon + 1)...], maximum: Int(UInt16.max))
        else { return nil }
        var host = characters[..<colon]
        let isBracketed = host.first == UInt8(ascii: "[")
        if isBracketed {
            guard host.last == UInt8(ascii: "]") else { return nil }
            host = host.dropFirst().dropLast()
        }
        guard let address = IPAddress(String(decoding: host, as: UTF8.self)), address.isIPv4 != isBracketed else {
            return nil
        }
        self.init(address: address, port: UInt16(truncatingIfNeeded: port))
    }

    public var description: String {
        self.address.isIPv4 ? "\(self.address):\(self.port)" : "[\(self.address)]:\(self.port)"
    }
}

extension Endpoint: Comparable {
    /// Order by address, then port.
    public static func < (left: Endpoint, right: Endpoint) -> Bool {
        (left.address, left.port) < (right.address, right.port)
    }
}
