import NIOCore
import OnionClient

@testable import ProxyFrontend

/// What a handshake did with bytes that arrived in some split.
struct Transcript: Equatable {
    enum End: Equatable { case waiting, request(ProxyRequest), finished, closed }

    /// All that was sent, in order.
    var sent: [UInt8] = []
    var end = End.waiting
    /// What lay in the buffer after the request.
    var rest: [UInt8] = []
    /// The most bytes the handshake ever left in the buffer while it waited.
    var maximumPending = 0

    /// Give the bytes to a fresh handshake, in pieces that end at the given offsets.
    init(_ bytes: [UInt8], splits: [Int] = [], access: ProxyAccess = .open) {
        var handshake = ProxyHandshake(access: access)
        var buffer = ByteBuffer()
        var start = 0
        for end in splits + [bytes.count] {
            buffer.writeBytes(bytes[start..<end])
            start = end
            guard self.end == .waiting else { continue }
            self.drive(&handshake, &buffer)
        }
        self.rest = Array(buffer.readableBytesView)
    }

    private mutating func drive(_ handshake: inout ProxyHandshake, _ buffer: inout ByteBuffer) {
        while true {
            switch handshake.next(from: &buffer) {
            case .wait:
                self.maximumPending = max(self.maximumPending, buffer.readableBytes)
                return
            case .send(let bytes): self.sent += bytes.readableBytesView
            case .request(let request):
                self.end = .request(request)
                return
            case .finish(let bytes):
                self.sent += bytes.readableBytesView
                self.end = .finished
                return
            case .close:
                self.end = .closed
                return
            }
        }
    }

    /// Return the end with everything that a split cannot change.
    var outcome: Transcript {
        var copy = self
        copy.maximumPending = 0
        return copy
    }
}

extension ProxyRequest {
    static func connect(
        _ proxyProtocol: ProxyProtocol, _ host: String, _ port: UInt16, _ credentials: ProxyCredentials = .none
    ) -> ProxyRequest {
        ProxyRequest(
            proxyProtocol: proxyProtocol, target: .connect(host: host, port: port), credentials: credentials)
    }
}

/// The bytes of a text.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A SOCKS5 failure reply.
func socks5Failure(_ code: UInt8) -> [UInt8] { [5, code, 0, 1, 0, 0, 0, 0, 0, 0] }

/// SOCKS5 greetings and requests as applications write them.
enum SOCKS5Bytes {
    static let greeting: [UInt8] = [5, 1, 0]
    static let accountGreeting: [UInt8] = [5, 2, 0, 2]

    static func account(_ name: [UInt8], _ password: [UInt8]) -> [UInt8] {
        [1, UInt8(name.count)] + name + [UInt8(password.count)] + password
    }

    static func name(_ name: [UInt8], port: UInt16 = 80, command: UInt8 = 1) -> [UInt8] {
        [5, command, 0, 3, UInt8(name.count)] + name + [UInt8(port >> 8), UInt8(port & 0xFF)]
    }
}
