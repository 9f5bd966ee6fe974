internal import NIOCore
internal import OnionAddress
internal import OnionClient

/// The reply to a SOCKS4 or 4a request: granted, or not; the protocol cannot say why.
///
///     0 | reply | port u16 | address u32
enum SOCKS4Reply: UInt8, Sendable {
    case granted = 90
    case rejected = 91

    /// Every failure is one reply; written as a switch so that a new one is thought about.
    init(_ failure: StreamFailure) {
        switch failure {
        case .ended, .noCircuit, .tooManyCircuits, .invalidRequest, .noExitAllows, .noExitMeets, .wishNotUnderstood,
            .addressRefused, .notReady, .shuttingDown:
            self = .rejected
        }
    }

    /// The whole reply, with no address in it.
    var bytes: ByteBuffer { Self.message(self, address: 0) }

    /// The answer to RESOLVE; SOCKS4 has no room for an IPv6 address.
    static func resolved(_ address: IPAddress) -> ByteBuffer {
        switch address {
        case .v4(let value): Self.message(.granted, address: value)
        case .v6: Self.rejected.bytes
        }
    }

    private static func message(_ reply: Self, address: UInt32) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeMultipleIntegers(UInt8(0), reply.rawValue, UInt16(0), address)
        return bytes
    }
}
