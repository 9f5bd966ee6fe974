internal import NIOCore
internal import OnionAddress
internal import OnionCells
internal import OnionClient

/// The reply to a SOCKS5 request.
///
///     version 5 | reply | 0 | address type | address | port u16
///
/// The address of a reply to CONNECT is always 0.0.0.0:0, as with Tor: the exit's side of the connection is not the
/// application's business, and the proxy has no other. In answers to RESOLVE and RESOLVE_PTR it is the answer.
///
/// - Source: RFC 1928 §6; Tor socks-extensions
enum SOCKS5Reply: UInt8, Sendable, CaseIterable {
    case succeeded = 0
    case generalFailure = 1
    case notAllowed = 2
    case networkUnreachable = 3
    case hostUnreachable = 4
    case connectionRefused = 5
    case timedOut = 6
    case commandNotSupported = 7
    case addressTypeNotSupported = 8

    /// Tell the application why there is no stream.
    init(_ failure: StreamFailure) {
        switch failure {
        case .ended(let reason): self.init(reason)
        case .noExitAllows, .noExitMeets, .wishNotUnderstood, .addressRefused: self = .notAllowed
        case .noCircuit, .tooManyCircuits, .invalidRequest, .notReady, .shuttingDown: self = .generalFailure
        }
    }

    /// The one table from what an exit says to what the application reads.
    init(_ reason: EndReason) {
        switch reason {
        case .connectionRefused: self = .connectionRefused
        case .noSuchName, .resolveFailed, .hostUnreachable: self = .hostUnreachable
        case .networkUnreachable: self = .networkUnreachable
        case .timedOut: self = .timedOut
        case .exitPolicy, .notAllowed: self = .notAllowed
        case .unspecified, .finished, .reset, .resourceLimit, .shuttingDown: self = .generalFailure
        }
    }

    /// The whole reply, with no address in it.
    var bytes: ByteBuffer { Self.message(self, .address(.v4(0))) }

    /// The answer to RESOLVE (an address) or RESOLVE_PTR (a name).
    static func resolved(_ answer: Resolved.Answer.Value) -> ByteBuffer { Self.message(.succeeded, answer) }

    private static func message(_ reply: Self, _ answer: Resolved.Answer.Value) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeMultipleIntegers(SOCKS5Handshake.version, reply.rawValue, UInt8(0))
        switch answer {
        case .address(.v4(let value)): bytes.writeMultipleIntegers(UInt8(1), value)
        case .address(.v6(let hi, let lo)): bytes.writeMultipleIntegers(UInt8(4), hi, lo)
        case .name(let name):
            let text = name.utf8.prefix(Begin.maximumHostByteCount)
            bytes.writeMultipleIntegers(UInt8(3), UInt8(clamping: text.count))
            bytes.writeBytes(text)
        }
        bytes.writeInteger(UInt16(0))
        return bytes
    }
}
