public import NIOCore

extension SocketAddress {
    /// The endpoint as NIO's bootstraps take it.
    public init(_ endpoint: Endpoint) {
        let packed = ByteBuffer(bytes: endpoint.address.bytes)
        // 4 or 16 bytes are the two lengths that NIO accepts, and an address has no other.
        do {
            self = try SocketAddress(packedIPAddress: packed, port: Int(endpoint.port))
        } catch {
            preconditionFailure("an IP address has 4 or 16 bytes")
        }
    }
}

extension Endpoint {
    /// Read a socket's address; nil for a Unix socket.
    public init?(_ socketAddress: SocketAddress) {
        guard let port = socketAddress.port.flatMap(UInt16.init(exactly:)) else { return nil }
        guard let address = socketAddress.ipAddress.flatMap({ IPAddress($0) }) else { return nil }
        self.init(address: address, port: port)
    }
}
