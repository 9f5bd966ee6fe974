import Foundation

/// A TCP port of 127.0.0.1 that nobody else gets, and where nobody listens: connections to it are refused.
final class ReservedPort: Sendable {
    let port: UInt16
    private let descriptor: Int32

    init() throws {
        self.descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = self.descriptor
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 ? getsockname(descriptor, address, &length) : -1
            }
        }
        self.port = UInt16(bigEndian: address.sin_port)
        guard result == 0 else { throw TestFailure("no port: \(errno)") }
    }

    deinit { close(self.descriptor) }
}
