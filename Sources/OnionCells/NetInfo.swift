public import NIOCore
public import OnionAddress

/// The first cell each way on a link: the sender's clock and the address at which it sees the peer.
///
///     offset  size  field
///     0       8     Unix time in seconds, big-endian; 0 from a proxy
///     8       1     address type: 0 none (from a proxy), 4, 6
///     9       0/4/16  the peer's address as the sender sees it
///
/// - Source: DESIGN §5.1
public struct NetInfo: Equatable, Sendable {
    public var unixTime: UInt64
    public var observedAddress: IPAddress?

    public init(unixTime: UInt64, observedAddress: IPAddress?) {
        self.unixTime = unixTime
        self.observedAddress = observedAddress
    }

    /// What a proxy sends: nothing about itself or its view.
    public static let anonymous = NetInfo(unixTime: 0, observedAddress: nil)

    /// Read the body of a NetInfo cell.
    ///
    /// - Throws: ``CellError/truncated(need:have:)`` or ``CellError/invalidField(_:)``.
    public init(body: ByteBuffer) throws(CellError) {
        var body = body
        self.unixTime = try body.readOrThrow(UInt64.self)
        if body.getInteger(at: body.readerIndex, as: UInt8.self) == 0 {
            self.observedAddress = nil
        } else {
            self.observedAddress = try body.readAddress()
        }
    }

    /// Append the fields; the rest of the cell is for the caller to fill with zeros.
    public func write(to buffer: inout ByteBuffer) {
        buffer.writeInteger(self.unixTime)
        switch self.observedAddress {
        case nil: buffer.writeInteger(UInt8(0))
        case .some(let address): buffer.writeIPAddress(address)
        }
    }
}
