public import NIOCore

/// Why bytes are no address.
public enum AddressError: Error, Equatable, Sendable {
    /// The buffer ends inside the address.
    case truncated
    /// The type byte is neither 4 nor 6.
    case unknownType(UInt8)
}

extension ByteBuffer {
    /// Read an address.
    ///
    ///     offset  size  field
    ///     0       1     type: 4 or 6
    ///     1       4/16  address, network order
    ///
    /// - Throws: ``AddressError``; the reader index is then where it was.
    public mutating func readIPAddress() throws(AddressError) -> IPAddress {
        var copy = self
        guard let type = copy.readInteger(as: UInt8.self) else { throw .truncated }
        let address: IPAddress
        switch type {
        case 4:
            guard let value = copy.readInteger(as: UInt32.self) else { throw .truncated }
            address = .v4(value)
        case 6:
            guard let (hi, lo) = copy.readMultipleIntegers(as: (UInt64, UInt64).self) else { throw .truncated }
            address = .v6(hi: hi, lo: lo)
        default: throw .unknownType(type)
        }
        self = copy
        return address
    }

    /// Write an address: type u8 (4 or 6), then 4 or 16 bytes.
    public mutating func writeIPAddress(_ address: IPAddress) {
        switch address {
        case .v4(let value): self.writeMultipleIntegers(UInt8(4), value)
        case .v6(let hi, let lo): self.writeMultipleIntegers(UInt8(6), hi, lo)
        }
    }

    /// Read an address and a port u16.
    ///
    /// - Throws: ``AddressError``; the reader index is then where it was.
    public mutating func readEndpoint() throws(AddressError) -> Endpoint {
        var copy = self
        let address = try copy.readIPAddress()
        guard let port = copy.readInteger(as: UInt16.self) else { throw .truncated }
        self = copy
        return Endpoint(address: address, port: port)
    }

    /// Write an address and a port u16.
    public mutating func writeEndpoint(_ endpoint: Endpoint) {
        self.writeIPAddress(endpoint.address)
        self.writeInteger(endpoint.port)
    }
}
